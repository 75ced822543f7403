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
		probe := 0
		for range 100 {
			probe += len(g.Line(k))
		}
		times, lines := g.Fill(k, rawBytes/streams*100/probe, corpus.Start, int64(time.Hour))
		for i := range lines {
			rows.Stream = append(rows.Stream, uint32(10+s))
			rows.Timestamps = append(rows.Timestamps, times[i])
			rows.Lines = append(rows.Lines, lines[i])
		}
	}
	return rows
}

// mixRows are one block of each family.
func mixRows() (blocks []*Rows) {
	for k := range corpus.NumKinds {
		blocks = append(blocks, familyRows(corpus.Kind(k), TargetRawBytes))
	}
	return blocks
}

// forFamilies runs a benchmark per family and over all; run processes one block
// and returns its encoded size.
func forFamilies(b *testing.B, run func(b *testing.B, rows *Rows) func() int) {
	one := func(b *testing.B, blocks []*Rows) {
		var work []func() int
		raw, lines, size := 0, 0, 0
		for _, rows := range blocks {
			f := run(b, rows)
			work = append(work, f)
			size += f()
			lines += rows.Len()
			for _, l := range rows.Lines {
				raw += len(l)
			}
		}
		b.SetBytes(int64(raw))
		b.ReportAllocs()
		start := cpuTime()
		for b.Loop() {
			for _, f := range work {
				f()
			}
		}
		cpu := (cpuTime() - start).Seconds() / float64(b.N)
		b.ReportMetric(float64(size)/float64(lines), "B/line")
		b.ReportMetric(cpu/float64(lines)*1e6, "cpu-s/Mlines")
		b.ReportMetric(float64(raw)/1e6/cpu, "cpu-MB/s")
	}
	for k := range corpus.NumKinds {
		b.Run(corpus.Kind(k).String(), func(b *testing.B) {
			one(b, []*Rows{familyRows(corpus.Kind(k), TargetRawBytes)})
		})
	}
	b.Run("all", func(b *testing.B) { one(b, mixRows()) })
}

func benchmarkEncode(b *testing.B, opts EncoderOptions) {
	forFamilies(b, func(b *testing.B, rows *Rows) func() int {
		e := NewEncoder(opts)
		var dst []byte
		return func() int {
			var err error
			if dst, err = e.Encode(dst[:0], rows); err != nil {
				b.Fatal(err)
			}
			return len(dst)
		}
	})
}

func BenchmarkEncode(b *testing.B)      { benchmarkEncode(b, EncoderOptions{}) }
func BenchmarkEncodeFast(b *testing.B)  { benchmarkEncode(b, EncoderOptions{Level: 1}) }
func BenchmarkEncodePlain(b *testing.B) { benchmarkEncode(b, EncoderOptions{Plain: true}) }
func BenchmarkEncodePlainFast(b *testing.B) {
	benchmarkEncode(b, EncoderOptions{Plain: true, Level: 1})
}

func benchmarkBlock(b *testing.B, opts EncoderOptions, read func(b *Block, dec *Decoder, dst *Rows) error) {
	forFamilies(b, func(b *testing.B, rows *Rows) func() int {
		data := mustEncode(b, opts, rows)
		dec := must(NewDecoder())
		var out Rows
		return func() int {
			blk, err := OpenBytes(data)
			if err == nil {
				err = read(blk, dec, &out)
			}
			if err != nil {
				b.Fatal(err)
			}
			return len(data)
		}
	})
}

func decodeAll(b *Block, dec *Decoder, dst *Rows) error { return b.Decode(dec, dst) }

func BenchmarkDecode(b *testing.B)      { benchmarkBlock(b, EncoderOptions{}, decodeAll) }
func BenchmarkDecodePlain(b *testing.B) { benchmarkBlock(b, EncoderOptions{Plain: true}, decodeAll) }

func BenchmarkDecodeTimes(b *testing.B) {
	benchmarkBlock(b, EncoderOptions{}, func(b *Block, _ *Decoder, dst *Rows) error { return b.DecodeTimes(dst) })
}

// One of three streams.
func BenchmarkDecodeRange(b *testing.B) {
	benchmarkBlock(b, EncoderOptions{}, func(b *Block, dec *Decoder, dst *Rows) error {
		n := b.NumRows()
		return b.DecodeRange(dec, dst, n/3, 2*n/3)
	})
}

func benchmarkSearch(b *testing.B, needle string) {
	benchmarkBlock(b, EncoderOptions{}, func(b *Block, _ *Decoder, _ *Rows) error {
		_, err := b.MayContain([]string{needle})
		return err
	})
}

func BenchmarkSearchWord(b *testing.B) { benchmarkSearch(b, "zzyzxabsent") }
func BenchmarkSearchID(b *testing.B)   { benchmarkSearch(b, "4f0c9a1be27d4c5f9a1be27d4c5f0a1b") }

// Rows that hold "error": about a tenth of some families, none of others.
func BenchmarkDecodeNeedle(b *testing.B) {
	benchmarkBlock(b, EncoderOptions{}, func(b *Block, dec *Decoder, dst *Rows) error {
		return b.DecodeSome(dec, dst, 0, b.NumRows(), &Choice{Needles: []string{"error"}})
	})
}
