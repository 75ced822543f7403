package chunk

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
	"github.com/prometheus/prometheus/model/labels"
)

// TestMayContainNeverMisses searches for pieces of the lines themselves, also
// across field borders, and counts what is excluded of needles that are absent.
func TestMayContainNeverMisses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	absent, excluded := 0, 0
	for k := range corpus.NumKinds {
		rows := familyRows(corpus.Kind(k), 64<<10)
		data := mustEncode(t, EncoderOptions{}, rows)
		b, err := OpenBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		for range 1500 {
			l := rows.Lines[r.IntN(rows.Len())]
			from := r.IntN(len(l))
			needle := l[from : from+r.IntN(min(len(l)-from, 60)+1)]
			if ok, err := b.MayContain([]string{needle}); !ok || err != nil {
				t.Fatalf("%s: %q of line %q: %v %v", corpus.Kind(k), needle, l, ok, err)
			}
			// The same needle with one byte changed is mostly absent.
			if needle == "" {
				continue
			}
			m := []byte(needle)
			m[r.IntN(len(m))] ^= byte(1 + r.IntN(3))
			has := false
			for _, l := range rows.Lines {
				if has = strings.Contains(l, string(m)); has {
					break
				}
			}
			ok, err := b.MayContain([]string{string(m)})
			if err != nil || has && !ok {
				t.Fatalf("%s: %q: %v %v", corpus.Kind(k), m, ok, err)
			}
			if !has {
				absent++
				if !ok {
					excluded++
				}
			}
		}
	}
	t.Logf("%d of %d absent needles excluded", excluded, absent)
	if excluded*10 < absent*2 {
		t.Errorf("only %d of %d absent needles excluded", excluded, absent)
	}
}

// TestSearchPromise searches for every piece of lines whose runs of letters and
// digits lie at the borders of what the encoder cuts.
func TestSearchPromise(t *testing.T) {
	for _, format := range []string{
		"run ab%dxyz end", "run abc%dxyz-%[1]d", "x%dy%[1]dz", "%[1]dab%[1]dcd", "%dms", "took %dabc abc%[1]d abcdef%[1]d",
		"at 2026-11-22T10:15:%02d.5Z", "T%dT", "[22/Nov/2026:10:15:%02d +0000]", "id=%016x", "id %032x.", "ID-%016X", "id %08xg",
		"6ba7b810-9dad-11d1-80b4-%012x", "x6ba7b810-9dad-11d1-80b4-%012x", "6ba7b810-9dad-11d1-80b4-%012xx", "pod-7d9f8b6c5-x%dk4z",
		`{"name%d":"v%[1]dw","word":"abcdefgh%[1]d"}`, "word%dword word", "é%dé abcdé%[1]dabcd", "0x%08x", "a%[1]db-%[1]dc/%[1]dd",
	} {
		var lines []string
		for i := range 48 {
			lines = append(lines, strings.SplitN(fmt.Sprintf(format, i*1_234_567%60), "%!(", 2)[0])
		}
		rows := oneStream(lines)
		b := must(OpenBytes(mustEncode(t, EncoderOptions{Level: 1}, rows)))
		for _, l := range []string{lines[7], lines[30]} {
			for i := range len(l) {
				for j := i + 1; j <= len(l); j++ {
					if ok, err := b.MayContain([]string{l[i:j]}); !ok || err != nil {
						t.Fatalf("%q of %q: %v %v", l[i:j], l, ok, err)
					}
				}
			}
			checkContaining(t, must(NewDecoder()), b, rows, 0, rows.Len(), []string{l})
			checkContaining(t, must(NewDecoder()), b, rows, 0, rows.Len(), []string{l[1 : len(l)-1], l[len(l)/2:]})
		}
	}
}

// checkContaining compares DecodeSome with a filter over all rows and
// returns how many rows it gave beyond those.
func checkContaining(t *testing.T, dec *Decoder, b *Block, all *Rows, from, to int, needles []string) (wanted, extra int) {
	t.Helper()
	var got Rows
	if err := b.DecodeSome(dec, &got, from, to, &Choice{Needles: needles}); err != nil {
		t.Fatalf("%q: %v", needles, err)
	}
	k := 0
	for i := from; i < to; i++ {
		has := containsAll(all.Lines[i], needles)
		given := k < got.Len() && got.Stream[k] == all.Stream[i] && got.Timestamps[k] == all.Timestamps[i] && got.Lines[k] == all.Lines[i]
		if has && !given {
			t.Fatalf("%q: row %d is missing: %.300q", needles, i, all.Lines[i])
		}
		if !given {
			continue
		}
		if len(all.Metadata) > 0 && hasMetadata(all.Metadata) && !labels.Equal(all.Metadata[i], got.Metadata[k]) {
			t.Fatalf("%q: row %d has metadata %s, want %s", needles, i, got.Metadata[k], all.Metadata[i])
		}
		k++
		if has {
			wanted++
		} else {
			extra++
		}
	}
	if k != got.Len() || len(got.Lines) != k || len(got.Stream) != k {
		t.Fatalf("%q: %d rows that are not in the block", needles, got.Len()-k)
	}
	return wanted, extra
}

func TestNeedles(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 5))
	dec := must(NewDecoder())
	for seed := range uint64(40) {
		rows := randomRows(*seedFlag + seed)
		for _, plain := range []bool{false, true} {
			b := must(OpenBytes(mustEncode(t, EncoderOptions{Level: 1, Plain: plain}, rows)))
			for range 25 {
				var needles []string
				for range 1 + r.IntN(2) {
					l := rows.Lines[r.IntN(rows.Len())]
					from := r.IntN(len(l) + 1)
					needles = append(needles, l[from:from+r.IntN(min(len(l)-from, 40)+1)])
				}
				from := r.IntN(rows.Len())
				checkContaining(t, dec, b, rows, from, from+r.IntN(rows.Len()-from+1), needles)
			}
		}
	}
}

// TestNeedlesPrecision: words and identifiers select their rows alone.
func TestNeedlesPrecision(t *testing.T) {
	dec := must(NewDecoder())
	for k := range corpus.NumKinds {
		rows := familyRows(corpus.Kind(k), 256<<10)
		b := must(OpenBytes(mustEncode(t, EncoderOptions{}, rows)))
		id := ""
		if f := strings.FieldsFunc(rows.Lines[77], func(c rune) bool { return !strings.ContainsRune(lowerDigits, c) }); corpus.Kind(k) != corpus.Postgres && corpus.Kind(k) != corpus.Klog {
			for _, w := range f {
				if len(w) > len(id) {
					id = w
				}
			}
		}
		for _, n := range []string{"error", "ERROR", "timed out", "POST", id} {
			wanted, extra := checkContaining(t, dec, b, rows, 0, rows.Len(), []string{n})
			if len(n) > 4 && extra > wanted/5+1 {
				t.Errorf("%s: %q: %d rows wanted, %d more given", corpus.Kind(k), n, wanted, extra)
			}
		}
	}
}

const lowerDigits = "0123456789abcdef"

// TestPick decodes random choices of rows, dense and sparse, with and without
// needles.
func TestPick(t *testing.T) {
	r := rand.New(rand.NewPCG(*seedFlag, 6))
	dec := must(NewDecoder())
	for seed := range uint64(40) {
		rows := randomRows(*seedFlag + seed)
		for _, plain := range []bool{false, true} {
			b := must(OpenBytes(mustEncode(t, EncoderOptions{Level: 1, Plain: plain}, rows)))
			for range 20 {
				from := r.IntN(rows.Len())
				to := from + r.IntN(rows.Len()-from+1)
				oneIn := 1 + r.IntN(60)
				c := &Choice{}
				if l := rows.Lines[r.IntN(rows.Len())]; r.IntN(2) == 0 && l != "" {
					c.Needles = []string{l[:r.IntN(len(l))]}
				}
				var want []int
				c.Pick = func(cand, streams []uint32, times []int64) []uint32 {
					if len(streams) != rows.Len() || len(times) != rows.Len() {
						t.Fatalf("%d streams and %d times of %d rows", len(streams), len(times), rows.Len())
					}
					out := cand[:0]
					for _, i := range cand {
						if int(i) < from || int(i) >= to {
							t.Fatalf("row %d is not between %d and %d", i, from, to)
						}
						if r.IntN(oneIn) == 0 {
							out = append(out, i)
							want = append(want, int(i))
						}
					}
					return out
				}
				var got Rows
				if err := b.DecodeSome(dec, &got, from, to, c); err != nil {
					t.Fatal(err)
				}
				if got.Len() != len(want) || len(got.Lines) != len(want) {
					t.Fatalf("%d rows and %d lines, want %d", got.Len(), len(got.Lines), len(want))
				}
				for k, i := range want {
					if got.Stream[k] != rows.Stream[i] || got.Timestamps[k] != rows.Timestamps[i] || got.Lines[k] != rows.Lines[i] ||
						len(got.Metadata) > 0 && !labels.Equal(got.Metadata[k], rows.Metadata[i]) {
						t.Fatalf("row %d is %.100q, want %.100q", i, got.Lines[k], rows.Lines[i])
					}
				}
			}
		}
	}
}
