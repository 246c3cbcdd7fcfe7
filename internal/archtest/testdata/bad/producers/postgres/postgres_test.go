package postgres

import (
	_ "cloud.google.com/go/bigquery"
	_ "github.com/duckdb/duckdb-go/v2"
	_ "github.com/linkedin/goavro/v2"
	_ "github.com/twmb/franz-go/pkg/kfake"
	_ "millrace/deriver"
	_ "millrace/internal/testkit"
	_ "testing"
)
