package stage

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// TestBuilderAgainstMap sets, renames and drops labels at random, with few and
// with so many that they are looked up by an index, and compares with a map.
func TestBuilderAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var b Builder
	for round := range 40 {
		b.Reset([]labels.Label{{Name: "app", Value: "a"}, {Name: "n3", Value: "stream"}}, labels.FromStrings("n5", "meta"))
		want := map[string]string{"app": "a", "n3": "stream", "n5": "meta"}
		names := 4 * indexAbove
		if round%2 == 0 {
			names = indexAbove / 2
		}
		for i := range 6 * names {
			name, value := "n"+strconv.Itoa(rng.IntN(names)), strconv.Itoa(i)
			switch rng.IntN(5) {
			case 0, 1:
				b.Set(name, value)
				want[name] = value
			case 2:
				b.Del(name)
				delete(want, name)
			case 3:
				dst := "n" + strconv.Itoa(rng.IntN(names))
				b.Rename(name, dst)
				if v, ok := want[name]; ok && name != dst {
					delete(want, name)
					want[dst] = v
				}
			case 4:
				v, ok := b.Get(name)
				if w, wok := want[name]; v != w || ok != wok {
					t.Fatalf("round %d, step %d: Get(%s) = %q, %t; want %q, %t", round, i, name, v, ok, w, wok)
				}
			}
		}
		got := map[string]string{}
		b.each(func(name, value string, _ Category) {
			if _, ok := got[name]; ok {
				t.Errorf("round %d: %s twice", round, name)
			}
			got[name] = value
		})
		if !maps.Equal(got, want) {
			t.Fatalf("round %d:\n got %v\nwant %v", round, got, want)
		}
	}
}
