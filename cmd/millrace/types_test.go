package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"millrace/internal/testkit"
)

// typed is a column's type with values that the warehouse can hold.
type typed struct {
	typ    string
	values []string
}

func everyPostgresType() []typed {
	return []typed{
		{"smallint", []string{"-32768", "7"}},
		{"integer", []string{"2147483647", "-1"}},
		{"bigint", []string{"-9223372036854775808", "9223372036854775807"}},
		{"oid", []string{"4294967295", "0"}},
		{"real", []string{"0.1", "'NaN'", "3.4028235e38"}},
		{"double precision", []string{"0.1", "'-Infinity'", "1e-300"}},
		{"numeric", []string{"1.10", "'NaN'", "12345678901234567890123456789012345678901234567890.5"}},
		{"numeric(30,4)", []string{"123456789012345.6789", "-1"}},
		{"numeric(50,10)", []string{"1.5", "1234567890123456789012345678901234567890", "0"}},
		{"numeric(3,5)", []string{"0.00999", "0"}},
		{"numeric(5,-2)", []string{"123456", "100"}},
		{"money", []string{"'-1234.56'", "0.5"}},
		{"boolean", []string{"true", "false"}},
		{"bytea", []string{`'\x00ff'`, "''"}},
		{"char(5)", []string{"'ab'", "''"}},
		{"varchar(5)", []string{"'ab '", "''"}},
		{"text", []string{`'é" \ ' || chr(10) || '[NULL]'`, "''"}},
		{`"char"`, []string{"'x'", "'y'"}},
		{"name", []string{"'n'", "''"}},
		{"mood", []string{"'so so'", "'ok'"}},
		{"pair", []string{"ROW(1, 'a b')", "ROW(NULL, '')"}},
		{"positive", []string{"5", "6"}},
		{"price", []string{"5.5", "1"}},
		{"bit(3)", []string{"B'101'", "B'000'"}},
		{"bit varying", []string{"B'1'", "B''"}},
		{"date", []string{"'2024-02-29'", "'9999-12-31'", "'0001-01-01'"}},
		{"time", []string{"'23:59:59.999999'", "'00:00'"}},
		{"timetz", []string{"'23:59:59.5+05:30'", "'24:00+00'"}},
		{"timestamp", []string{"'2026-03-29 02:30:00.000001'", "'0001-01-01'"}},
		{"timestamptz", []string{"'2026-03-29 01:30:00.123456+01'", "'9999-12-31 23:59:59+00'"}},
		{"timestamp(0)", []string{"'2026-03-29 02:30:00'", "'1969-12-31 23:59:59'"}},
		{"interval", []string{"'1 year 2 mons 3 days 04:05:06.789'", "'-1 day +1 hour'"}},
		{"uuid", []string{"'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'00000000-0000-0000-0000-000000000000'"}},
		{"inet", []string{"'10.0.0.1'", "'10.0.0.1/8'", "'::1'"}},
		{"cidr", []string{"'10.0.0.0/8'", "'::/0'"}},
		{"macaddr", []string{"'08:00:2b:01:02:03'", "'08002b010204'"}},
		{"macaddr8", []string{"'08:00:2b:01:02:03:04:05'", "'08:00:2b:01:02:03:04:06'"}},
		{"json", []string{`'{"b": 1.10, "a": [ null ], "b": 2}'`, `'"\u00e9\n"'`}},
		{"jsonb", []string{`'{"b": 1.10, "a": [ null ]}'`, `'null'`}},
		{"jsonpath", []string{"'$.a'", "'$'"}},
		{"xml", []string{"'<a>1</a>'", "'<b/>'"}},
		{"point", []string{"'(0.1,2)'", "'(0,0)'"}},
		{"line", []string{"'{1,2,3}'", "'{1,0,0}'"}},
		{"lseg", []string{"'[(0,0),(1,1)]'", "'[(0,0),(1,2)]'"}},
		{"box", []string{"'(1,1),(0,0)'", "'(2,2),(0,0)'"}},
		{"path", []string{"'[(0,0),(1,1)]'", "'((0,0),(1,1))'"}},
		{"polygon", []string{"'((0,0),(1,1),(1,0))'", "'((0,0))'"}},
		{"circle", []string{"'<(0,0),1.5>'", "'<(0,0),0>'"}},
		{"tsvector", []string{"'a:1 b:2'", "''"}},
		{"tsquery", []string{"'a & b'", "''"}},
		{"pg_lsn", []string{"'16/B374D848'", "'0/0'"}},
		{"xid", []string{"'5'", "'6'"}},
		{"regclass", []string{"'pg_class'", "'public.every'"}},
		{"int4range", []string{"'[1,5)'", "'empty'"}},
		{"numrange", []string{"'(1.5,)'", "'[1,2]'"}},
		{"daterange", []string{"'[2026-01-01,2026-02-01)'", "'(,)'"}},
		{"tstzrange", []string{"'[2026-03-29 01:30:00+01,)'", "'empty'"}},
		{"int4multirange", []string{"'{[1,5),[7,9)}'", "'{}'"}},
		{"integer[]", []string{"'{{1,2},{3,NULL}}'", "'{}'", "'[0:1]={1,2}'"}},
		{"oid[]", []string{"'{4294967295}'", "'{}'"}},
		{"real[]", []string{"'{0.1,NaN,Infinity}'", "'{}'"}},
		{"numeric[]", []string{"'{1.10,NaN,-5}'", "'{}'"}},
		{"boolean[]", []string{"'{t,f,NULL}'", "'{}'"}},
		{"text[]", []string{`ARRAY['a,"b" \n', E'tab\tnew\nline\x01\x08', 'NULL', NULL, '']`, "'{}'"}},
		{"char(3)[]", []string{"'{a,bc}'", "'{}'"}},
		{"bytea[]", []string{`ARRAY['\x00ff'::bytea]`, "'{}'"}},
		{"date[]", []string{"'{2026-01-01,infinity}'", "'{}'"}},
		{"timestamptz[]", []string{`'{2026-03-29 01:30:00+01}'`, "'{}'"}},
		{"interval[]", []string{`'{1 day}'`, "'{}'"}},
		{"inet[]", []string{"'{10.0.0.1,10.0.0.1/8}'", "'{}'"}},
		{"jsonb[]", []string{`ARRAY['{"a": "x\ny"}'::jsonb, 'null'::jsonb, NULL]`, "'{}'"}},
		{"json[]", []string{`ARRAY['{"a":   "x\ny"}'::json]`, "'{}'"}},
		{"mood[]", []string{"'{ok,so so}'", "'{}'"}},
		{"pair[]", []string{"ARRAY[ROW(1, 'a b')::pair]", "'{}'"}},
		{"positive[]", []string{"'{1,2}'", "'{}'"}},
		{"box[]", []string{"'{(1,1),(0,0);(2,2),(0,0)}'", "'{}'"}},
		{"int4range[]", []string{`'{"[1,5)"}'`, "'{}'"}},
	}
}

func everyMariaDBType() []typed {
	return append(everyMySQLFamilyType(), []typed{
		{"json", []string{`'{"b": 1.10, "a": [ null ]}'`, "'null'"}},
		{"uuid", []string{"'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'00000000-0000-0000-0000-000000000000'"}},
		{"inet4", []string{"'10.0.0.1'", "'0.0.0.0'"}},
		{"inet6", []string{"'2001:db8::1'", "'::ffff:10.0.0.1'", "'::10.0.0.1'", "'1:0:2:0:0:0:0:3'"}},
		{"bigint AS (id * 2) PERSISTENT", nil},
	}...)
}

func everyMySQLType() []typed {
	return append(everyMySQLFamilyType(), []typed{
		{"json", []string{
			`'{"b": 1.10, "a": [ null, 1e20, 1.0, 12345678901234567890 ]}'`, "'null'",
			"JSON_ARRAY(CAST(1.10 AS DECIMAL(9,3)), DATE'2026-01-02', TIME'-01:02:03.5', x'00ff', REPEAT('é', 100))",
		}},
		{"vector(2)", []string{"TO_VECTOR('[1,-0.5]')", "TO_VECTOR('[0,0]')"}},
		{"geometrycollection", []string{"ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')"}},
		{"bigint AS (id * 2) STORED", nil},
		{"bigint AS (id * 3) VIRTUAL INVISIBLE", nil},
	}...)
}

// everyMySQLFamilyType are the types that both servers have.
func everyMySQLFamilyType() []typed {
	return []typed{
		{"tinyint", []string{"-128", "127"}},
		{"tinyint unsigned", []string{"255", "0"}},
		{"smallint unsigned", []string{"65535", "0"}},
		{"mediumint", []string{"-8388608", "1"}},
		{"int(10) unsigned zerofill", []string{"4294967295", "7"}},
		{"bigint", []string{"-9223372036854775808", "9223372036854775807"}},
		{"bigint unsigned", []string{"18446744073709551615", "0"}},
		{"boolean", []string{"true", "false"}},
		{"bit(1)", []string{"b'1'", "b'0'"}},
		{"bit(9)", []string{"b'100000001'", "0"}},
		{"bit(64)", []string{"18446744073709551615", "0"}},
		{"float", []string{"0.1", "-3.4e38"}},
		{"float(7,4)", []string{"999.0001", "0"}},
		{"double", []string{"0.1", "1e-300", "1.7976931348623157e308"}},
		{"double(10,2)", []string{"12345.67", "-0.01"}},
		{"decimal(30,4)", []string{"123456789012345.6789", "-1"}},
		{"decimal(65,30)", []string{"12345678901234567890123456789012345.1", "0"}},
		{"decimal(50)", []string{"12345678901234567890123456789012345678901234567890", "100"}},
		{"date", []string{"'2024-02-29'", "'9999-12-31'", "'0000-00-00'"}},
		{"datetime", []string{"'2026-03-29 02:30:00'", "'0000-00-00 00:00:00'"}},
		{"datetime(6)", []string{"'2026-03-29 02:30:00.000001'", "'1000-01-01'"}},
		{"timestamp NULL", []string{"'2026-03-29 02:30:00'", "'1970-01-02'", "'0000-00-00 00:00:00'"}},
		{"timestamp(6) NULL", []string{"'2026-03-29 02:30:00.123456'", "'2038-01-19 03:14:07'"}},
		{"time", []string{"'838:59:59'", "'-838:59:59'"}},
		{"time(6)", []string{"'-00:00:00.000001'", "'12:34:56.789'", "'-800:00:00.5'"}},
		{"time(3)", []string{"'-00:00:01.5'", "'00:00'"}},
		{"year", []string{"2026", "0"}},
		{"char(5)", []string{"'ab '", "''"}},
		{"char(5) CHARACTER SET latin1", []string{"'é'", "''"}},
		{"varchar(9)", []string{"'ab '", "'😀'"}},
		{"tinytext", []string{"'t'", "''"}},
		{"longtext CHARACTER SET ucs2", []string{"'é'", "''"}},
		{"binary(4)", []string{"x'00ff'", "''"}},
		{"varbinary(4)", []string{"x'ff00'", "''"}},
		{"blob", []string{"x'00ff'", "''"}},
		{"enum('a','so so','é')", []string{"'so so'", "'é'", "''"}},
		{"set('a','b','c')", []string{"'c,a'", "''"}},
		{"point", []string{"POINT(0.1, 2)", "POINT(0, 0)"}},
		{"geometry", []string{"ST_GeomFromText('LINESTRING(0 0, 1 1)', 4326)", "POINT(1, 1)"}},
	}
}

var letters = regexp.MustCompile(`[^a-z0-9]+`)

// everyType is a table of all of them: per row one value of each column, and a
// row of nulls. Half of the rows are there before the capture begins.
func everyType(types []typed) (create string, before, after []string) {
	columns := []string{"id int PRIMARY KEY"}
	var names []string
	rows := 0
	for i, c := range types {
		name := fmt.Sprintf("c%d_%s", i, strings.Trim(letters.ReplaceAllString(strings.ToLower(c.typ), "_"), "_"))
		columns = append(columns, name+" "+c.typ)
		if c.values != nil {
			names = append(names, name)
		}
		rows = max(rows, len(c.values))
	}
	create = "CREATE TABLE every (" + strings.Join(columns, ", ") + ")"
	for half, into := range []*[]string{&before, &after} {
		for row := range rows + 1 {
			values := []string{fmt.Sprint(half*100 + row)}
			for _, c := range types {
				switch {
				case c.values == nil:
				case row == rows:
					values = append(values, "NULL")
				default:
					values = append(values, c.values[row%len(c.values)])
				}
			}
			*into = append(*into, "INSERT INTO every (id, "+strings.Join(names, ", ")+") VALUES ("+strings.Join(values, ", ")+")")
		}
	}
	return create, before, after
}

// What verify reads of a source is what the warehouse holds, for values of every
// type, from the snapshot and from the log; and it sees one that differs.
func TestVerifyEveryType(t *testing.T) {
	t.Parallel()
	pgDSN, myDSN, nativeDSN := testkit.PostgresDatabase(t), testkit.MariaDBDatabase(t), testkit.MySQLDatabase(t)
	myName, nativeName := myDSN[strings.LastIndex(myDSN, "/")+1:], nativeDSN[strings.LastIndex(nativeDSN, "/")+1:]
	pg := &shop{db: testkit.Open(t, pgDSN)}
	my := &shop{db: testkit.Open(t, myDSN)}
	native := &shop{db: testkit.Open(t, nativeDSN)}
	my.db.SetMaxOpenConns(1)
	native.db.SetMaxOpenConns(1)
	pg.exec(t, "CREATE TYPE mood AS ENUM ('ok', 'so so')", "CREATE TYPE pair AS (a int, b text)",
		"CREATE DOMAIN positive AS int CHECK (VALUE > 0)", "CREATE DOMAIN cost AS numeric(10,2)", "CREATE DOMAIN price AS cost")
	for _, s := range []*shop{my, native} {
		s.exec(t, "SET sql_mode = ''", "SET time_zone = '+00:00'")
	}
	pgCreate, pgBefore, pgAfter := everyType(everyPostgresType())
	myCreate, myBefore, myAfter := everyType(everyMariaDBType())
	nativeCreate, nativeBefore, nativeAfter := everyType(everyMySQLType())
	pg.exec(t, append([]string{
		pgCreate, "CREATE TABLE odd (a int NOT NULL, b int UNIQUE, d date, ts timestamptz)",
		"ALTER TABLE odd ALTER b SET NOT NULL", "ALTER TABLE odd REPLICA IDENTITY FULL",
		"INSERT INTO odd VALUES (1, 1, 'infinity', '0044-03-15 12:00:00 BC'), (1, 2, '2026-01-01', '-infinity')",
	}, pgBefore...)...)
	my.exec(t, append([]string{myCreate}, myBefore...)...)
	native.exec(t, append([]string{nativeCreate}, nativeBefore...)...)
	i := newInstall(t, fmt.Sprintf(`
prefix: types
data: ./data
http: 127.0.0.1:0
sources:
  p:
    kind: postgres
    dsn: %q
    tables: {public.every: {as: core.p}, public.odd: {key: b, text: [d, ts]}}
  m:
    kind: mariadb
    dsn: %q
    tables: {%s.every: {as: core.m, zero_dates: "null"}}
  n:
    kind: mysql
    dsn: %q
    tables: {%s.every: {as: core.n, zero_dates: "null"}}
`, pgDSN, myDSN, myName, nativeDSN, nativeName), nil)
	i.start()
	i.await("the snapshot is loaded", func() bool {
		rows, err := i.rows("SELECT (SELECT count(*) FROM core.p) + (SELECT count(*) FROM core.m) + (SELECT count(*) FROM core.n)")
		return err == nil && rows[0] == fmt.Sprint(len(pgBefore)+len(myBefore)+len(nativeBefore))
	})
	pg.exec(t, pgAfter...)
	my.exec(t, myAfter...)
	native.exec(t, nativeAfter...)
	verified := func(table string) (code int, out string) {
		var printed, errs bytes.Buffer
		code = run(t.Context(), []string{"verify", table, "--config", filepath.Join(i.dir, "millrace.yaml")}, &printed, &errs)
		return code, printed.String() + errs.String()
	}
	for table, rows := range map[string]int{"core.p": len(pgBefore) + len(pgAfter), "core.m": len(myBefore) + len(myAfter), "core.n": len(nativeBefore) + len(nativeAfter), "core.odd": 2} {
		if code, out := verified(table); code != 0 || !strings.Contains(out, fmt.Sprintf("as it should be: %d rows", rows)) {
			t.Errorf("verify %s ends with %d:\n%s", table, code, out)
		}
	}
	i.stop()
	duck, err := sql.Open("duckdb", filepath.Join(i.dir, "data", "warehouse.duckdb"))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`UPDATE core__base.p SET c0_smallint = 8 WHERE id = 101`,
		`UPDATE core__base.m SET c0_tinyint = 8 WHERE id = 0`,
		`UPDATE core__base.n SET c0_tinyint = 8 WHERE id = 0`,
	} {
		if _, err := duck.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := duck.Close(); err != nil {
		t.Fatal(err)
	}
	i.start()
	for table, want := range map[string]string{
		"core.p": "differs: id=101: c0_smallint should be 7, is 8\n",
		"core.m": "differs: id=0: c0_tinyint should be -128, is 8\n",
		"core.n": "differs: id=0: c0_tinyint should be -128, is 8\n",
	} {
		if code, out := verified(table); code == 0 || !strings.Contains(out, want) || strings.Count(out, "differs: ") != 1 {
			t.Errorf("verify %s ends with %d:\n%s", table, code, out)
		}
	}
}
