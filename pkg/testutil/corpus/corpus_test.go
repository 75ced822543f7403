package corpus

import (
	"hash/fnv"
	"testing"
)

// TestDeterministic pins the lines: benchmark figures are only comparable over
// time as long as the corpus stays the same.
func TestDeterministic(t *testing.T) {
	h := fnv.New64a()
	g := New(1)
	total := 0
	for i := range 7000 {
		l := g.Line(Kind(i % NumKinds))
		total += len(l)
		h.Write([]byte(l))
	}
	if got, want := h.Sum64(), uint64(0x47b11f55d31cfd7); got != want {
		t.Errorf("corpus changed: hash %#x, want %#x (%d B/line)", got, want, total/7000)
	}
}

func TestLengths(t *testing.T) {
	want := [NumKinds]int{390, 255, 265, 300, 225, 120, 135}
	g := New(7)
	for k := range NumKinds {
		n := 0
		for range 2000 {
			n += len(g.Line(Kind(k)))
		}
		if avg := n / 2000; avg < want[k]*8/10 || avg > want[k]*12/10 {
			t.Errorf("%s: %d B/line, documented %d", Kind(k), avg, want[k])
		}
	}
}

func TestMix(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Mix(200) {
		if seen[s.Labels.String()] {
			t.Errorf("stream %s twice", s.Labels)
		}
		seen[s.Labels.String()] = true
	}
}
