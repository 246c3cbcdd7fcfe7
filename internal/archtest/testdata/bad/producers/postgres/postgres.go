package postgres

import (
	_ "github.com/duckdb/duckdb-go/v2"
	_ "github.com/jackc/pgx/v5/pgconn"
	_ "github.com/twmb/franz-go/pkg/kfake"
	_ "github.com/twmb/franz-go/pkg/kgo"
	_ "millrace/consumers/batch"
	_ "millrace/internal/retry"
	_ "millrace/producers"
)
