package main

import "testing"

// Bars take what the other columns leave, or go.
func TestBarWidth(t *testing.T) {
	header := []string{"NAMESPACE", "BYTES", "SHARE"}
	rows := [][]string{{"größer-als-x", "1.5 GiB", "64 %"}}
	const columns = 12 + 2 + 7 + 2 + 5 + 2
	for width, want := range map[int]int{0: 24, 200: 24, columns + 24: 24, columns + 10: 10, columns + 8: 8, columns + 7: 0, 5: 0} {
		if got := barWidth(header, rows, width); got != want {
			t.Errorf("%d columns: %d, want %d", width, got, want)
		}
	}
}
