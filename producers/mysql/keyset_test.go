package mysql_test

import (
	"fmt"
	"strings"
	"testing"

	"millrace/producers/mysql"
	"millrace/schemas"
)

// Chunks of every size cover tables whose keys order by a collation, by
// number, or by several columns, each row once.
func TestChunksFollowTheOrderOfAnyKey(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		for name, c := range map[string]struct{ key, columns, rows string }{
			"case-insensitive": {"k", "k VARCHAR(20)", "('a'),('B'),('c'),('é'),('F'),(''),('z z'),('Ö')"},
			"latin1":           {"k", "k VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci", "('a'),('é'),('B'),('ß'),('z')"},
			"utf16":            {"k", "k VARCHAR(20) CHARACTER SET utf16", "('a'),('é'),('😀')"},
			"binary":           {"k", "k BINARY(3)", "(x'00'),(x'0001'),(x'ff'),(x'ff00ff'),('a')"},
			"decimal":          {"k", "k DECIMAL(40,20)", "(1.00000000000000000001),(1.00000000000000000002),(-5),(0),(12345678901234567890.5)"},
			"unsigned":         {"k", "k BIGINT UNSIGNED", "(0),(9223372036854775807),(9223372036854775808),(9223372036854775809),(18446744073709551615)"},
			"double":           {"k", "k DOUBLE", "(0.1),(0.3),(0.30000000000000004),(-1e300),(5e-324)"},
			"float":            {"k", "k FLOAT", "(0.1),(0.2),(-3.4e38),(1e-45)"},
			"datetime":         {"k", "k DATETIME(6)", "('2026-01-01'),('2026-01-01 00:00:00.000001'),('1000-01-01')"},
			"timestamp":        {"k", "k TIMESTAMP(3) DEFAULT '2026-01-01'", "(FROM_UNIXTIME(1)),(FROM_UNIXTIME(1.5)),(FROM_UNIXTIME(2000000000))"},
			"date":             {"k", "k DATE", "('2026-01-01'),('0001-01-01'),('9999-12-31')"},
			"time":             {"k", "k TIME(2)", "('-838:59:59'),('-00:00:00.01'),('0'),('00:00:00.01'),('100:00:00')"},
			"year":             {"k", "k YEAR", "(1901),(2000),(2155),(0)"},
			"bit":              {"k", "k BIT(64)", "(0),(1),(0xffffffffffffffff)"},
			"enum":             {"k", "k ENUM('z','a','m')", "('z'),('a'),('m')"},
			"set":              {"k", "k SET('z','a')", "('z'),('a'),('z,a'),('')"},
			"uuid":             {"k", "k UUID", "('6ba7b810-9dad-11d1-80b4-00c04fd430c8'),('018f2b6c-1111-7222-8333-444455556600'),('00000000-0000-0000-0000-000000000000'),('ffffffff-ffff-ffff-ffff-ffffffffffff')"},
			"inet6":            {"k", "k INET6", "('::1'),('::'),('2001:db8::1'),('::ffff:1.2.3.4')"},
			"three":            {"a, `b c`, k", "k INT, `b c` VARCHAR(9), a INT", "(1,'x',1),(2,'x',1),(1,'y',1),(3,'Y2',1),(1,'',2),(1,'x',2),(9,'x',2)"},
		} {
			t.Run(name, func(t *testing.T) {
				if f.name == "mysql" && (name == "uuid" || name == "inet6") {
					t.Skip("MySQL has no such type")
				}
				c1 := captureT(t, f, mysql.Table{}, fmt.Sprintf("CREATE TABLE t (%s, PRIMARY KEY (%s))", c.columns, c.key), "INSERT INTO t VALUES "+c.rows)
				table := c1.versionsOf("t")[0].Table
				n := strings.Count(c.rows, "),(") + 1
				for limit := 1; limit <= n+1; limit++ {
					seen := map[string]bool{}
					var after []schemas.Cell
					for end := false; !end; {
						rows, chunk, err := c1.chunk(table, after, limit)
						if err != nil {
							t.Fatal(err)
						}
						for _, ch := range rows {
							key, err := schemas.AppendKey(nil, table, ch.After)
							if err != nil {
								t.Fatal(err)
							}
							if seen[string(key)] {
								t.Fatalf("limit %d: row %v came twice", limit, ch.After)
							}
							seen[string(key)] = true
						}
						if after, end = chunk.Last, chunk.End; len(seen) > n {
							t.Fatalf("limit %d: more than %d rows", limit, n)
						}
					}
					if len(seen) != n {
						t.Errorf("limit %d: %d rows of %d", limit, len(seen), n)
					}
				}
				readAllKeys(t, c1, table, n)
			})
		}
	})
}

// readAllKeys reads every key of t by itself.
func readAllKeys(t *testing.T, c *capture, table *schemas.Table, n int) {
	t.Helper()
	all, _, err := c.chunk(table, nil, n)
	if err != nil {
		t.Fatal(err)
	}
	var keys [][]schemas.Cell
	for _, ch := range all {
		var key []schemas.Cell
		for _, ord := range table.Key {
			key = append(key, ch.After[ord])
		}
		keys = append(keys, key)
	}
	got := 0
	chunk, err := c.src.ReadKeys(t.Context(), table, keys, func(rows []schemas.Change) error {
		got += len(rows)
		return nil
	})
	if err != nil || got != n || chunk.ReadPoint.IsZero() {
		t.Errorf("%d of %d keys were read, %v", got, n, err)
	}
}

// The condition of a chunk reads a range of the key, not the table.
func TestChunksUseTheKey(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		var rows strings.Builder
		for i := range 20000 {
			fmt.Fprintf(&rows, "(%d, %d, 1.5, REPEAT('x', 100)),", i/100, i%100)
		}
		c := captureT(t, f, mysql.Table{}, "CREATE TABLE t (a INT, b VARCHAR(20) CHARACTER SET latin1, c DECIMAL(9,2), v TEXT, PRIMARY KEY (a, b, c))",
			"INSERT INTO t VALUES "+strings.TrimSuffix(rows.String(), ","), "ANALYZE TABLE t")
		table := c.versionsOf("t")[0].Table
		read := func() (n int) {
			c.t.Helper()
			for _, name := range []string{"Handler_read_next", "Handler_read_rnd_next"} {
				var count int
				if err := c.db.QueryRow("SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(new(string), &count); err != nil {
					t.Fatal(err)
				}
				n += count
			}
			return n
		}
		before := read()
		after := []schemas.Cell{schemas.IntCell(150), schemas.BytesCell([]byte("5")), schemas.BytesCell(schemas.AppendTwos(nil, 150))}
		got, _, err := c.chunk(table, after, 10)
		if err != nil || len(got) != 10 {
			t.Fatalf("%d rows, %v", len(got), err)
		}
		if n := read() - before; n > 5000 {
			t.Errorf("a chunk of 10 rows read %d of 20000", n)
		}
	})
}
