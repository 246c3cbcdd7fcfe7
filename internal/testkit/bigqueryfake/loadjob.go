package bigqueryfake

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	bq "google.golang.org/api/bigquery/v2"
)

func checkLoad(l *bq.JobConfigurationLoad) *apiError {
	switch {
	case len(l.SourceUris) > 0:
		return refused("load jobs from Cloud Storage are not in its set; send the file with the request")
	case l.SourceFormat != "AVRO":
		return refused("load jobs from %s are not in its set", l.SourceFormat)
	case l.DestinationTable == nil:
		return invalid("Required parameter is missing: destinationTable")
	case strings.Contains(l.DestinationTable.TableId, "$"), len(l.SchemaUpdateOptions) > 0:
		return refused("load jobs into a partition or that change the schema are not in its set")
	}
	return nil
}

// runLoad writes the rows of an Avro file into a table that is there, all or
// none.
func (f *Fake) runLoad(ctx context.Context, j *job) error {
	l := j.config.Load
	f.mu.Lock()
	t, missing := f.tableAt(l.DestinationTable.DatasetId, l.DestinationTable.TableId)
	var columns []column
	if t != nil {
		columns = slices.Clone(t.columns)
	}
	f.mu.Unlock()
	if missing != nil {
		return missing
	}
	fields, rows, err := avroFile(j.media)
	if err != nil {
		return invalid("Error while reading data, error message: %s", err)
	}
	places, err := placeFields(fields, columns, l)
	if err != nil {
		return err
	}
	placed := make([][]value, len(rows))
	for n, row := range rows {
		placed[n] = make([]value, len(columns))
		for i, v := range row {
			if v == nil {
				continue
			}
			if placed[n][places[i]], err = convert(columns[places[i]].typ, v); err != nil {
				return invalid("Error while reading data, error message: record %d, field %s: %s", n, fields[i].name, err)
			}
		}
		for i, c := range columns {
			if c.required && placed[n][i] == nil {
				return invalid("Error while reading data, error message: record %d has no value of the required field %s", n, c.name)
			}
		}
	}
	if l.WriteDisposition == "WRITE_EMPTY" {
		have, err := f.count(ctx, t)
		if err != nil {
			return err
		}
		if have > 0 {
			return duplicate("Table %s:%s.%s", f.opts.Project, t.dataset, t.id)
		}
	}
	f.mu.Lock()
	j.affected = int64(len(rows))
	f.mu.Unlock()
	return f.writeLoad(ctx, t, columns, placed, l.WriteDisposition == "WRITE_TRUNCATE")
}

// placeFields finds the columns of the file's fields.
func placeFields(fields []avroField, columns []column, l *bq.JobConfigurationLoad) ([]int, error) {
	places := make([]int, len(fields))
	have := (&table{columns: columns}).index
	for i, f := range fields {
		if !l.UseAvroLogicalTypes {
			f.logical = "" // the service then takes the plain type
		}
		places[i] = have(f.name)
		if places[i] < 0 {
			return nil, invalid("Provided Schema does not match the table. Cannot add fields (field: %s)", f.name)
		}
		if c, is := columns[places[i]], f.column(l.DecimalTargetTypes); is != c.typ.name {
			return nil, invalid("Provided Schema does not match the table. Field %s has changed type from %s to %s", f.name, c.typ.name, is)
		}
	}
	for i, c := range columns {
		if c.required && !slices.Contains(places, i) {
			return nil, invalid("Provided Schema does not match the table. Field %s is missing in new schema", c.name)
		}
	}
	return places, nil
}

// writeLoad writes the rows in one update, beside all transactions.
func (f *Fake) writeLoad(ctx context.Context, t *table, columns []column, rows [][]value, truncate bool) error {
	f.ddl.RLock()
	defer f.ddl.RUnlock()
	conn, err := f.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // with the transaction, if it has not ended
	if _, err := conn.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
		return err
	}
	if truncate {
		if _, err := conn.ExecContext(ctx, "DELETE FROM "+t.physical); err != nil {
			return conflict(err, t.dataset+"."+t.id)
		}
	}
	if len(rows) > 0 {
		if err := conn.Raw(func(raw any) error { return appendTo(raw.(driver.Conn), t.physical, columns, rows) }); err != nil {
			return fmt.Errorf("write the rows: %w", err)
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return conflict(err, t.dataset+"."+t.id)
}
