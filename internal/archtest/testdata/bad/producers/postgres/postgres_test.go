package postgres

import (
	_ "github.com/duckdb/duckdb-go/v2"
	_ "github.com/linkedin/goavro/v2"
	_ "github.com/twmb/franz-go/pkg/kfake"
	_ "millrace/deriver"
	_ "testing"
)
