package chunk

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
)

// idLines are lines that lie at the borders of the rules.
func idLines(r *rand.Rand) []string {
	var out []string
	const alphabet = "0123456789abcdefZgT.-_/ \"=:\x00\xc3\xa9"
	for range 40 {
		b := make([]byte, r.IntN(120))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
			if r.IntN(4) > 0 {
				b[i] = alphabet[r.IntN(16)]
			}
		}
		out = append(out, string(b))
	}
	return append(out, "", "1234567", "12345678", ".12345678", ".12345678Z", ".123456789Z", "x.12345678a", "é12345678é",
		strings.Repeat("a", 300)+"1", strings.Repeat("9", 300), "2026-11-22T10:15:30.123456789Z")
}

// TestIDFilterNeverMisses asks filters for pieces of the lines that they were made
// of.
func TestIDFilterNeverMisses(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 8))
	var f IDFilterBuilder
	check := func(lines []string) {
		t.Helper()
		filter := f.Append(nil, lines)
		for range 400 {
			l := lines[r.IntN(len(lines))]
			if l == "" {
				continue
			}
			from := r.IntN(len(l))
			needles := []string{l[from : from+r.IntN(len(l)-from)+1]}
			if r.IntN(3) == 0 {
				needles = append(needles, l[:r.IntN(len(l)+1)])
			}
			if !NewIDProbe(needles).MayContain(filter) {
				t.Fatalf("%q of line %q is excluded", needles, l)
			}
		}
		for _, l := range lines {
			if !NewIDProbe([]string{l}).MayContain(filter) {
				t.Fatalf("line %q is excluded", l)
			}
		}
	}
	for range 150 {
		lines := idLines(r)
		check(lines)
		check(lines[:1+r.IntN(len(lines))])
		k := r.IntN(len(lines))
		check(lines[k : k+1])
	}
	for k := range corpus.NumKinds {
		check(familyRows(corpus.Kind(k), 64<<10).Lines)
	}
}

// TestIDFilterExcludes lists needles that are not there and whether that is seen.
func TestIDFilterExcludes(t *testing.T) {
	var f IDFilterBuilder
	filter := f.Append(nil, []string{
		`trace_id=4f0c9a1be27d4c5f9a1be27d4c5f0a1b user=u-1234567 id="6ba7b810-9dad-11d1-80b4-00c04fd430c8"`,
		`at 10:15:30.123456789Z order12345678 done`,
	})
	for _, tt := range []struct {
		needle string
		want   bool
	}{
		{"4f0c9a1be27d4c5f9a1be27d4c5f0a1b", true},
		{"4f0c9a1be27d4c5f9a1be27d4c5f0a1c", true}, // has the same beginning
		{"5f0c9a1be27d4c5f9a1be27d4c5f0a1b", false},
		{"4f0c9a1be27d4c5f9a1be27d4c5f0a1b0", false}, // longer than any
		{"=4f0c9a1be27d4c5f", true},
		{"=4f0c9a1c", false},
		{"4f0c9a1c", true}, // may be in the middle of one
		{"6ba7b810-9dad-11d1-80b4-00c04fd430c8", true},
		{"6ba7b810-9dad-11d1-80b4-10c04fd430c8", false},
		{"9dad-11d1-80b4-10c04fd4", false},
		{".987654321Z", true}, // fractions are left out
		{".12345678", true},
		{"done", true},
		{"order1234567", true}, // not bounded
		{" order1234567", true},
		{" order1239999", true}, // has the same beginning
		{" ordes1234567", false},
		{"", true},
	} {
		if got := NewIDProbe([]string{tt.needle}).MayContain(filter); got != tt.want {
			t.Errorf("%q may be there: %v, want %v", tt.needle, got, tt.want)
		}
	}
	none := f.Append(nil, []string{"no token of that kind at all", "1 2 3"})
	if len(none) != idHeader || NewIDProbe([]string{"=12345678"}).MayContain(none) {
		t.Errorf("a filter without tokens has %d bytes or excludes nothing", len(none))
	}
	for _, odd := range [][]byte{nil, {}, {9, 9, 9, 9}, {1, 2}} {
		if !NewIDProbe([]string{"=12345678"}).MayContain(odd) {
			t.Errorf("filter %v excludes something", odd)
		}
	}
}

// FuzzIDFilter looks for pieces of any line, in any filter.
func FuzzIDFilter(f *testing.F) {
	f.Add("a=12345678 b.123456789Z", 2, 8, []byte{1, 32, 6, 0xff})
	f.Add("6ba7b810-9dad-11d1-80b4-00c04fd430c8", 0, 36, []byte{1, 255, 200})
	f.Fuzz(func(t *testing.T, line string, from, n int, other []byte) {
		if from < 0 || n < 0 || from > len(line) || n > len(line)-from {
			return
		}
		p := NewIDProbe([]string{line[from : from+n]})
		var b IDFilterBuilder
		if !p.MayContain(b.Append(nil, []string{line, "x"})) {
			t.Errorf("%q of %q is excluded", line[from:from+n], line)
		}
		p.MayContain(other)
	})
}

// BenchmarkIDFilter builds filters and reports their size and the share of blocks
// that they let pass although the needle is absent.
func BenchmarkIDFilter(b *testing.B) {
	var f IDFilterBuilder
	blocks := mixRows()
	lines, bytes := 0, 0
	filters := make([][]byte, len(blocks))
	for b.Loop() {
		lines, bytes = 0, 0
		for i, rows := range blocks {
			filters[i] = f.Append(filters[i][:0], rows.Lines)
			lines += rows.Len()
			bytes += len(filters[i])
		}
	}
	b.ReportMetric(float64(bytes)/float64(lines), "B/line")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(lines)*1e6, "s/Mline")
	r := rand.New(rand.NewPCG(7, 7))
	for name, needle := range map[string]func() string{
		"uuid": func() string {
			return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64()>>16)
		},
		"trace": func() string { return fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()) },
	} {
		pass, asked := 0, 0
		for range 2000 {
			p := NewIDProbe([]string{needle()})
			for _, x := range filters {
				asked++
				if p.MayContain(x) {
					pass++
				}
			}
		}
		b.ReportMetric(100*float64(pass)/float64(asked), "%false-"+name)
	}
}

// TestAlnum compares eight bytes at a time with one at a time.
func TestAlnum(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 9))
	for n := range 1 << 16 {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], r.Uint64())
		b[n%8] = byte(n)
		got := alnum8(binary.LittleEndian.Uint64(b[:]))
		for i, c := range b {
			if want := class[c]&(clsAlpha|clsDigit) != 0; got>>i&1 == 1 != want || got > 255 {
				t.Fatalf("byte %d of %x: mask %b, want %v", i, b, got, want)
			}
		}
	}
}
