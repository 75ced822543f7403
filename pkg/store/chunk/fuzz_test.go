package chunk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
)

// FuzzDecode reads arbitrary bytes as a block, with the checksums repaired so
// that the fuzzer gets behind them.
func FuzzDecode(f *testing.F) {
	for _, plain := range []bool{false, true} {
		data := mustEncode(f, EncoderOptions{Plain: plain}, sampleRows())
		f.Add(data)
		f.Add(unpackedBlock(f, data))
	}
	for k := range corpus.NumKinds {
		f.Add(unpackedBlock(f, mustEncode(f, EncoderOptions{}, familyRows(corpus.Kind(k), 12<<10))))
	}
	many := make([]string, 0, 600)
	for i := range 300 {
		many = append(many, fmt.Sprint("k", i), "v")
	}
	f.Add(unpackedBlock(f, mustEncode(f, EncoderOptions{}, withMetadata(many...))))
	f.Fuzz(func(t *testing.T, data []byte) {
		fixed := bytes.Clone(data)
		fixChecksums(fixed)
		checkBounded(t, fixed)
	})
}

// FuzzRoundTrip writes arbitrary lines; each is repeated with a counter so that
// shapes and columns come about.
func FuzzRoundTrip(f *testing.F) {
	g := corpus.New(9)
	for k := range corpus.NumKinds {
		f.Add([]byte(g.Line(corpus.Kind(k))), corpus.Start, uint8(40))
	}
	f.Add([]byte("a\nb\xff\n\n\"x\":1\n2026-11-22 10:15:30,5"), int64(-1), uint8(3))
	f.Fuzz(func(t *testing.T, text []byte, start int64, n uint8) {
		rows := &Rows{}
		lines := bytes.Split(text, []byte{'\n'})
		for i := range min(int(n), 64) + 1 {
			for _, l := range lines {
				b := bytes.Clone(l)
				if len(b) > 0 {
					// Digits vary, so that columns are not constant.
					if c := &b[i%len(b)]; *c >= '0' && *c <= '9' {
						*c = '0' + byte(i%10)
					}
				}
				rows.Stream = append(rows.Stream, 1)
				rows.Lines = append(rows.Lines, string(b))
				at := start
				if k := len(rows.Timestamps); k > 0 {
					at = max(rows.Timestamps[k-1], start+int64(binary.LittleEndian.Uint16([]byte{byte(i), n})))
				}
				rows.Timestamps = append(rows.Timestamps, at)
			}
		}
		data, err := NewEncoder(EncoderOptions{Level: 1}).Encode(nil, rows)
		if err != nil {
			t.Fatal(err)
		}
		if d := diffRows(rows, mustDecode(t, data)); d != "" {
			t.Fatal(d)
		}
		b, err := OpenBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			needle := string(l[len(l)/3 : len(l)-len(l)/4])
			has := false
			for _, r := range rows.Lines {
				has = has || bytes.Contains([]byte(r), []byte(needle))
			}
			if ok, err := b.MayContain([]string{needle}); err != nil || has && !ok {
				t.Fatalf("%q: %v %v", needle, ok, err)
			}
		}
	})
}
