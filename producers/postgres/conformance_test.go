package postgres

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"millrace/internal/testkit"
	"millrace/producers"
	"millrace/producers/sourcetest"
	"millrace/schemas"
)

func TestConformance(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Harness {
		h := new(sourcetest.Harness)
		var dsn string
		if strings.HasSuffix(t.Name(), "KilledServer") {
			srv := testkit.Postgres(t)
			dsn = srv.DSN("")
			h.Kill = func(testing.TB) { srv.Kill(); srv.Start() }
		} else {
			dsn = testkit.PostgresDatabase(t)
		}
		db := newDB(t, dsn)
		h.Exec = func(_ testing.TB, stmts ...string) { db.exec(stmts...) }
		h.Session = func(t testing.TB) func(string) error {
			conn := connect(t, dsn)
			return func(stmt string) error {
				_, err := conn.Exec(context.Background(), stmt)
				return err
			}
		}
		h.Rows = func(_ testing.TB, table string, columns ...string) []string {
			texts := make([]string, len(columns))
			for i, c := range columns {
				texts[i] = "coalesce(" + quote(c) + "::text, 'NULL')"
			}
			return db.column("SELECT concat_ws('|', " + strings.Join(texts, ", ") + ") FROM " + table + " ORDER BY " + quote(columns[0]))
		}
		h.ID = func(table string) string { return "public." + table }
		h.Config = func(tables ...string) producers.Config {
			c := &Config{DSN: dsn}
			for _, name := range tables {
				c.Tables = append(c.Tables, TableConfig{Name: "public." + name})
			}
			return c
		}
		h.Types, h.Unset, h.BigType = typeCases(), true, "TEXT"
		if strings.HasSuffix(t.Name(), "SnapshotAndStreamAgree") {
			db.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')", "CREATE DOMAIN price AS NUMERIC(8,3)", "CREATE TYPE pair AS (a INT, b TEXT)")
		}
		return h
	})
}

func text(values ...string) []schemas.Cell {
	var out []schemas.Cell
	for _, v := range values {
		out = append(out, schemas.BytesCell([]byte(v)))
	}
	return out
}

func ints(values ...int64) []schemas.Cell {
	var out []schemas.Cell
	for _, v := range values {
		out = append(out, schemas.IntCell(v))
	}
	return out
}

func us(s string) int64 {
	at, err := time.Parse("2006-01-02 15:04:05.999999", s)
	if err != nil {
		panic(err)
	}
	return at.UnixMicro()
}

func typeCases() []sourcetest.TypeCase {
	kind := func(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }
	decimal := func(p, s int) schemas.Type { return schemas.Type{Kind: schemas.Decimal, Precision: p, Scale: s} }
	twos := func(values ...int64) []schemas.Cell {
		var out []schemas.Cell
		for _, v := range values {
			out = append(out, schemas.BytesCell(schemas.AppendTwos(nil, v)))
		}
		return out
	}
	floats := func(values ...float64) []schemas.Cell {
		var out []schemas.Cell
		for _, v := range values {
			out = append(out, schemas.FloatCell(v))
		}
		return out
	}
	return []sourcetest.TypeCase{
		{SQL: "SMALLINT", Values: []string{"-32768", "32767"}, Type: kind(schemas.Int), Want: ints(-32768, 32767)},
		{SQL: "BIGINT", Values: []string{"-9223372036854775808", "9223372036854775807", "0"}, Type: kind(schemas.Int), Want: ints(math.MinInt64, math.MaxInt64, 0)},
		{SQL: "OID", Values: []string{"4294967295"}, Type: kind(schemas.Int), Want: ints(4294967295)},
		{SQL: "BOOLEAN", Values: []string{"true", "false"}, Type: kind(schemas.Bool), Want: ints(1, 0)},
		{SQL: "REAL", Values: []string{"0.1", "'-Infinity'", "1e-38"}, Type: kind(schemas.Float), Want: floats(float64(float32(0.1)), math.Inf(-1), float64(float32(1e-38)))},
		{SQL: "DOUBLE PRECISION", Values: []string{"0.1", "'NaN'", "-0.0", "1.7976931348623157e308"}, Type: kind(schemas.Float)},
		{SQL: "NUMERIC(10,2)", Values: []string{"12345678.90", "-0.01", "0"}, Type: decimal(10, 2), Want: twos(1234567890, -1, 0)},
		{SQL: "NUMERIC(38,9)", Values: []string{"-99999999999999999999999999999.999999999"}, Type: decimal(38, 9)},
		{SQL: "NUMERIC(60,20)", Values: []string{"1234567890123456789012345678901234567890.5"}, Type: decimal(60, 20)},
		{SQL: "NUMERIC(5,-2)", Values: []string{"1234567"}, Type: decimal(7, 0), Want: twos(1234600)},
		{SQL: "NUMERIC(3,5)", Values: []string{"0.00999"}, Type: decimal(5, 5), Want: twos(999)},
		{SQL: "NUMERIC", Values: []string{"1.10", "'NaN'", "'Infinity'", "1e50"}, Type: kind(schemas.String), Want: text("1.10", "NaN", "Infinity")},
		{SQL: "price", Values: []string{"1.5"}, Type: decimal(8, 3), Want: twos(1500)},
		{SQL: "MONEY", Values: []string{"1234.5"}, Type: kind(schemas.String), Want: text("$1,234.50")},
		{
			SQL: "TEXT", Values: []string{"''", `E'tab\t nl\n cr\r bs\\ \\N quote'' \b\f\x0b'`, "'héllo 😀'", `E'\\N'`}, Type: kind(schemas.String),
			Want: text("", "tab\t nl\n cr\r bs\\ \\N quote' \b\f\v", "héllo 😀", `\N`),
		},
		{SQL: "CHAR(5)", Values: []string{"'ab'"}, Type: kind(schemas.String), Want: text("ab   ")},
		{SQL: "VARCHAR(10)", Values: []string{"'abc'"}, Type: kind(schemas.String), Want: text("abc")},
		{SQL: "BYTEA", Values: []string{`'\xdeadbeef00'`, `''`}, Type: kind(schemas.Bytes), Want: text("\xde\xad\xbe\xef\x00", "")},
		{SQL: "DATE", Values: []string{"'2026-02-28'", "'0001-01-01'", "'9999-12-31'", "'1969-12-31'"}, Type: kind(schemas.Date), Want: ints(us("2026-02-28 00:00:00")/86400e6, -719162, 2932896, -1)},
		{SQL: "TIME", Values: []string{"'23:59:59.999999'", "'00:00:00'", "'12:34:56.7'"}, Type: kind(schemas.Time), Want: ints(86399999999, 0, 45296700000)},
		{SQL: "TIMETZ", Values: []string{"'12:00:00+05:30'", "'24:00:00+00'"}, Type: kind(schemas.String), Want: text("12:00:00+05:30", "24:00:00+00")},
		{
			SQL: "TIMESTAMP", Values: []string{"'2026-01-02 03:04:05.678901'", "'0001-01-01'", "'1969-12-31 23:59:59.5'"}, Type: kind(schemas.DateTime),
			Want: ints(us("2026-01-02 03:04:05.678901"), us("0001-01-01 00:00:00"), -500000),
		},
		{
			SQL: "TIMESTAMPTZ(3)", Values: []string{"'2026-01-02 03:04:05.678901+02'", "'9999-12-31 23:59:59.999+00'"}, Type: kind(schemas.Timestamp),
			Want: ints(us("2026-01-02 01:04:05.679"), us("9999-12-31 23:59:59.999")),
		},
		{SQL: "INTERVAL", Values: []string{"'1 year 2 mons 3 days 04:05:06.7'"}, Type: kind(schemas.String), Want: text("P1Y2M3DT4H5M6.7S")},
		{SQL: "UUID", Values: []string{"'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11'"}, Type: kind(schemas.String), Want: text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")},
		{SQL: "JSON", Values: []string{`'{"b":1, "a":1.10,"a":2}'`}, Type: kind(schemas.JSON), Want: text(`{"b":1, "a":1.10,"a":2}`)},
		{SQL: "JSONB", Values: []string{`'{"b":12345678901234567890, "a":1.10}'`, `'"x\ny"'`}, Type: kind(schemas.JSON), Want: text(`{"a": 1.10, "b": 12345678901234567890}`, `"x\ny"`)},
		{SQL: "INT[]", Values: []string{"'{{1,2},{3,NULL}}'", "'{}'", "'[0:1]={5,6}'"}, Type: kind(schemas.JSON), Want: text("[[1,2],[3,null]]", "[]", `"[0:1]={5,6}"`)},
		{SQL: "TEXT[]", Values: []string{`ARRAY['a', 'b,c', 'NULL', NULL, 'q"\x', E'nl\n', '']`}, Type: kind(schemas.JSON), Want: text(`["a","b,c","NULL",null,"q\"\\x","nl\u000a",""]`)},
		{SQL: "NUMERIC[]", Values: []string{"'{1.10,NaN,-5}'"}, Type: kind(schemas.JSON), Want: text(`[1.10,"NaN",-5]`)},
		{SQL: "JSONB[]", Values: []string{`ARRAY['{"a": 1}'::jsonb]`}, Type: kind(schemas.JSON), Want: text(`[{"a": 1}]`)},
		{SQL: "BOOLEAN[]", Values: []string{"'{t,f}'"}, Type: kind(schemas.JSON), Want: text("[true,false]")},
		{SQL: "mood", Values: []string{"'sad'"}, Type: kind(schemas.String), Want: text("sad")},
		{SQL: "mood[]", Values: []string{"'{sad,ok}'"}, Type: kind(schemas.JSON), Want: text(`["sad","ok"]`)},
		{SQL: "pair", Values: []string{`ROW(1, 'x "y"')`}, Type: kind(schemas.String), Want: text(`(1,"x ""y""")`)},
		{SQL: "INET", Values: []string{"'10.0.0.1/8'"}, Type: kind(schemas.String), Want: text("10.0.0.1/8")},
		{SQL: "BIT(4)", Values: []string{"B'1010'"}, Type: kind(schemas.String), Want: text("1010")},
		{SQL: "INT4RANGE", Values: []string{"'[1,5)'"}, Type: kind(schemas.String), Want: text("[1,5)")},
		{SQL: "XML", Values: []string{"'<a/>'"}, Type: kind(schemas.String), Want: text("<a/>")},
		{SQL: "TSVECTOR", Values: []string{"'a b'"}, Type: kind(schemas.String), Want: text("'a' 'b'")},
		{SQL: "REGCLASS", Values: []string{"'types'", "'pg_class'"}, Type: kind(schemas.String), Want: text("public.types", "pg_class")},
	}
}

// db is a session for a test's statements.
type db struct {
	t    testing.TB
	dsn  string
	conn *pgx.Conn
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func newDB(t testing.TB, dsn string) *db { return &db{t: t, dsn: dsn, conn: connect(t, dsn)} }

// exec runs statements, on a new connection if the server was started again.
func (d *db) exec(stmts ...string) {
	d.t.Helper()
	for _, s := range stmts {
		if d.conn.IsClosed() || d.conn.Ping(context.Background()) != nil && d.conn.IsClosed() {
			d.conn = connect(d.t, d.dsn)
		}
		if _, err := d.conn.Exec(context.Background(), s); err != nil {
			d.t.Fatalf("%s: %v", s, err)
		}
	}
}

// column returns the first column of a query as text.
func (d *db) column(sql string, args ...any) []string {
	d.t.Helper()
	rows, err := d.conn.Query(context.Background(), sql, args...)
	if err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

func (d *db) one(sql string, args ...any) string {
	d.t.Helper()
	out := d.column(sql, args...)
	if len(out) != 1 {
		d.t.Fatalf("%s: %d rows", sql, len(out))
	}
	return out[0]
}
