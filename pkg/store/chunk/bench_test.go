package chunk

import (
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
)

// familyRows are the rows of one block of a family: three streams, as
// compaction groups the pods of an app, over an hour.
func familyRows(k corpus.Kind, rawBytes int) *Rows {
	g := corpus.New(42 + uint64(k))
	rows := &Rows{}
	const streams = 3
	for s := range streams {
		probe := len(g.Line(k))
		for range 99 {
			probe += len(g.Line(k))
		}
		n := rawBytes / streams * 100 / probe
		times, lines := g.Fill(k, n, corpus.Start, int64(time.Hour))
		for i := range lines {
			rows.Stream = append(rows.Stream, uint32(10+s))
			rows.Timestamps = append(rows.Timestamps, times[i])
			rows.Lines = append(rows.Lines, lines[i])
		}
	}
	return rows
}

func rawSize(rows *Rows) (n int) {
	for _, l := range rows.Lines {
		n += len(l)
	}
	return n
}

func BenchmarkEncode(b *testing.B) {
	for k := range corpus.NumKinds {
		for _, o := range []struct {
			name string
			opts EncoderOptions
		}{{"columns", EncoderOptions{}}, {"columns-fast", EncoderOptions{Level: 1}}, {"plain-fast", EncoderOptions{Plain: true, Level: 1}}} {
			b.Run(corpus.Kind(k).String()+"/"+o.name, func(b *testing.B) {
				rows := familyRows(corpus.Kind(k), TargetRawBytes)
				e := NewEncoder(o.opts)
				var dst []byte
				b.SetBytes(int64(rawSize(rows)))
				b.ReportAllocs()
				for b.Loop() {
					var err error
					if dst, err = e.Encode(dst[:0], rows); err != nil {
						b.Fatal(err)
					}
				}
				reportLines(b, rows, len(dst))
			})
		}
	}
}

// reportLines adds bytes per line and seconds per million lines.
func reportLines(b *testing.B, rows *Rows, size int) {
	b.ReportMetric(float64(size)/float64(rows.Len()), "B/line")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(rows.Len())*1e6, "s/Mlines")
}

func BenchmarkDecode(b *testing.B) {
	for k := range corpus.NumKinds {
		b.Run(corpus.Kind(k).String(), func(b *testing.B) {
			rows := familyRows(corpus.Kind(k), TargetRawBytes)
			data := mustEncode(b, EncoderOptions{}, rows)
			dec, err := NewDecoder()
			if err != nil {
				b.Fatal(err)
			}
			var out Rows
			b.SetBytes(int64(rawSize(rows)))
			b.ReportAllocs()
			for b.Loop() {
				blk, err := OpenBytes(data)
				if err != nil {
					b.Fatal(err)
				}
				if err := blk.Decode(dec, &out); err != nil {
					b.Fatal(err)
				}
			}
			reportLines(b, rows, len(data))
		})
	}
}
