package install

import (
	"strings"
	"testing"
)

// TestGoBackToOlderFormat: what cannot read the data is not put on it.
func TestGoBackToOlderFormat(t *testing.T) {
	v := DefaultValues()
	kept, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	v.Storage.Ephemeral = true
	lost, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	good := &goodState{version: "v0.1.0", format: 1, objs: kept}
	if err := good.reads(2); err == nil || !strings.Contains(err.Error(), "of format 2, and v0.1.0, which was ready before, knows formats up to 1") {
		t.Errorf("got %v", err)
	}
	for _, format := range []int{0, 1} {
		if err := good.reads(format); err != nil {
			t.Errorf("format %d: %v", format, err)
		}
	}
	good.objs = lost
	if err := good.reads(2); err != nil {
		t.Errorf("the data goes with the pod: %v", err)
	}
}
