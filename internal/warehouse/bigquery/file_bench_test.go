package bigquery

import (
	"fmt"
	"io"
	"testing"

	"millrace/internal/warehouse"
)

// BenchmarkFileRow is BenchmarkRow for rows of a file: as records, and with the
// file around them and compressed.
func BenchmarkFileRow(b *testing.B) {
	const perFile = 50_000
	for _, columns := range []int{12, 31} {
		c, table, dec, body := scalars(b, columns)
		b.Run(fmt.Sprintf("columns=%d/avro to record", columns), func(b *testing.B) {
			e, err := newFileEncoder(c, table, "core.wide-1-1", 1_767_225_600_000_000)
			if err != nil {
				b.Fatal(err)
			}
			rows, buf := newDecoding(dec, body, columns), make([]byte, 0, 64<<10)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if buf, err = e.append(buf[:0], rows); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("columns=%d/avro to file", columns), func(b *testing.B) {
			b.ReportAllocs()
			var made, packed int64
			for made < int64(b.N) {
				rows := newDecoding(dec, body, columns)
				rows.left = int(min(perFile, int64(b.N)-made)) + 1
				f, err := newFile(c, &warehouse.Batch{Table: table, Rows: rows}, "core.wide-1-1", 1_767_225_600_000_000)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, f)
				if err != nil {
					b.Fatal(err)
				}
				made += f.count
				packed += n
			}
			b.ReportMetric(float64(packed)/float64(made), "packed-B/op")
		})
	}
}
