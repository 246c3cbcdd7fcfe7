package bigqueryfake

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
)

// openStore opens the DuckDB in memory that holds the rows. Connections are not
// kept: what a job leaves on its own, temporary tables and an open transaction,
// goes with it.
func openStore(ctx context.Context) (*sql.DB, error) {
	connector, err := duckdb.NewConnector("?autoinstall_known_extensions=false&autoload_known_extensions=false", func(c driver.ExecerContext) error {
		_, err := c.ExecContext(ctx, "SET TimeZone = 'UTC'; SET default_null_order = 'nulls_first_on_asc_last_on_desc'", nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(0)
	if err := prepareStore(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store: %w", err), db.Close())
	}
	return db, nil
}

func prepareStore(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := duckdb.RegisterScalarUDF(conn, "bq_json", jsonFunction{}); err != nil {
		return fmt.Errorf("register bq_json: %w", err)
	}
	for _, text := range append(macros, "CREATE TABLE main.bq_snapshot (n INTEGER)") {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("make %.40s: %w", text, err)
		}
	}
	return nil
}

// jsonFunction brings a JSON text into the one spelling that values of the type
// have: BigQuery keeps values, not texts.
type jsonFunction struct{}

func (jsonFunction) Config() duckdb.ScalarFuncConfig {
	text, err := duckdb.NewTypeInfo(duckdb.TYPE_VARCHAR)
	if err != nil {
		panic(err) // VARCHAR needs no details
	}
	return duckdb.ScalarFuncConfig{InputTypeInfos: []duckdb.TypeInfo{text}, ResultTypeInfo: text}
}

func (jsonFunction) Executor() duckdb.ScalarFuncExecutor {
	return duckdb.ScalarFuncExecutor{RowExecutor: func(values []driver.Value) (any, error) {
		text, ok := values[0].(string)
		if !ok {
			return nil, fmt.Errorf("a JSON text is a %T", values[0])
		}
		return canonicalJSON(text)
	}}
}

// canonicalJSON is the value's text with its members in order and without spaces.
func canonicalJSON(text string) (string, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return "", fmt.Errorf("syntax error while parsing value: %w", err)
	}
	if decoder.More() {
		return "", errors.New("syntax error while parsing value: more than one value")
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", fmt.Errorf("write JSON: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
