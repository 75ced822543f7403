package chunk

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
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
