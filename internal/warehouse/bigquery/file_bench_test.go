package bigquery

import (
	"fmt"
	"io"
	"testing"

	"millrace/internal/testkit"
	"millrace/internal/warehouse"
)

// BenchmarkFileRow is BenchmarkRow for rows of a file: as records, and with the
// file around them and compressed.
func BenchmarkFileRow(b *testing.B) {
	const perFile = 50_000
	for _, columns := range []int{12, 31} {
		s := newScalars(b, columns)
		b.Run(fmt.Sprintf("columns=%d/avro to record", columns), func(b *testing.B) {
			e, err := newFileEncoder(s.core, s.table, "core.wide-1-1", 1_767_225_600_000_000)
			if err != nil {
				b.Fatal(err)
			}
			rows, buf := s.rows(-1), make([]byte, 0, 64<<10)
			b.ReportAllocs()
			began := testkit.CPUTime()
			for b.Loop() {
				if buf, err = e.append(buf[:0], rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(testkit.CPUTime()-began)/float64(b.N), "cpu-ns/op")
		})
		b.Run(fmt.Sprintf("columns=%d/avro to file", columns), func(b *testing.B) {
			b.ReportAllocs()
			var made, packed int64
			began := testkit.CPUTime()
			for made < int64(b.N) {
				rows := s.rows(int(min(perFile, int64(b.N)-made)))
				f, err := newFile(s.core, &warehouse.Batch{Table: s.table, Rows: rows}, "core.wide-1-1", 1_767_225_600_000_000)
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
			b.ReportMetric(float64(testkit.CPUTime()-began)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(packed)/float64(made), "packed-B/op")
		})
	}
}
