package podlogs

import (
	"testing"
	"time"
)

// TestGapEndsAfterItsLines: a status names the second in which a run began or
// ended, and the lines of that second are inside the gap.
func TestGapEndsAfterItsLines(t *testing.T) {
	if got := endOfSecond(time.Time{}); got != 0 {
		t.Errorf("no time: %d", got)
	}
	lastLine := time.Date(2026, 3, 1, 12, 0, 7, 426_356_205, time.UTC)
	started := lastLine.Add(50 * time.Millisecond).Truncate(time.Second) // as a status says it
	g := gap{reason: GapInstanceLost, from: lastLine.UnixNano(), to: endOfSecond(started)}
	if g.to <= g.from {
		t.Errorf("the gap ends at %d, before it begins at %d", g.to, g.from)
	}
	if e := (gap{reason: GapInstanceLost, to: g.to}).entry(time.Time{}); e.Timestamp != started.UnixNano() {
		t.Errorf("a gap without a beginning is stored at %d, want %d", e.Timestamp, started.UnixNano())
	}
	if want := "gap: 573.644ms, instance_lost"; g.text() != want {
		t.Errorf("%q, want %q", g.text(), want)
	}
}
