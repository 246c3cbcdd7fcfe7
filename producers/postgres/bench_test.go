package postgres

import (
	"testing"

	"millrace/schemas"
)

const benchTable = `CREATE TABLE acct (id bigint PRIMARY KEY, k int, u uuid, name varchar(40), email varchar(60), amount numeric(12,2), n int, ok boolean,
	d double precision, at timestamptz, local timestamp, doc jsonb)`

const benchRows = `INSERT INTO acct SELECT i, i % 1000, md5(i::text)::uuid, 'name ' || i, i || '@example.com', i / 100.0, -i, i % 2 = 0, i / 8.0,
	timestamptz '2026-01-01' + i * interval '1 second', timestamp '2026-01-01' + i * interval '1 second', '{"a": 1}' FROM generate_series(1, 200000) i`

// BenchmarkStream reads a backlog of 200,000 rows from a real server. The
// server's own decoding is most of the time.
func BenchmarkStream(b *testing.B) {
	c := newCapture(b, "acct", benchTable).open()
	c.sync()
	c.resumeAt()
	c.exec(benchRows)
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		c.close()
		c.open()
		for n := 0; n < 200_000; {
			batch, err := c.src.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			n += len(batch.Changes)
			rows += len(batch.Changes)
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkSnapshot reads 200,000 rows in chunks of 50,000.
func BenchmarkSnapshot(b *testing.B) {
	c := newCapture(b, "acct", benchTable, benchRows).open()
	c.sync()
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		var after []schemas.Cell
		for end := false; !end; {
			chunk, err := c.src.ReadChunk(b.Context(), c.table("acct"), after, 50_000, func(cs []schemas.Change) error { rows += len(cs); return nil })
			if err != nil {
				b.Fatal(err)
			}
			after, end = chunk.Last, chunk.End
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
