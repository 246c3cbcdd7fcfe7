package up

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/config"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/bigquery"
	"millrace/internal/warehouse/duckdb"
)

// openWarehouse opens the warehouse that the configuration names.
func openWarehouse(ctx context.Context, c *config.Config, log *slog.Logger, metrics prometheus.Registerer) (warehouse.Warehouse, error) {
	if c.Warehouse.Kind == config.KindBigQuery {
		opts := bigQueryOptions(c)
		opts.Logger, opts.Registerer = log, metrics
		return bigquery.Open(ctx, opts)
	}
	path := c.Warehouse.Path
	if path == "" {
		path = filepath.Join(c.Data, duckdb.FileName)
	}
	return duckdb.Open(ctx, path, duckdb.Options{Logger: log, Registerer: metrics})
}

func bigQueryOptions(c *config.Config) bigquery.Options {
	b := c.Warehouse.BigQuery
	return bigquery.Options{
		Project: b.Project, Location: b.Location, MaxBytesBilled: b.MaxBytesBilled, Endpoints: bigquery.Endpoints{Jobs: b.JobsURL, Writes: b.WritesAddr},
	}
}

// openDialect opens what reads queries as the warehouse does.
func openDialect(ctx context.Context, c *config.Config) (warehouse.Dialect, error) {
	if c != nil && c.Warehouse.Kind == config.KindBigQuery {
		return bigquery.OpenDialect(ctx, bigQueryOptions(c))
	}
	return duckdb.OpenDialect(ctx)
}

// place is where the warehouse is, for a person.
func place(c *config.Config) string {
	if c.Warehouse.Kind == config.KindBigQuery {
		return "the project " + c.Warehouse.BigQuery.Project
	}
	return "the data folder " + c.Data
}

func otherPlace(c *config.Config) string {
	if c.Warehouse.Kind == config.KindBigQuery {
		return "project"
	}
	return "folder under data"
}
