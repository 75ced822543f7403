package output

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Bar is a progress bar on the last line of a terminal. Where nobody watches
// it draws nothing. It is used by one goroutine; a nil Bar draws nothing, too.
type Bar struct {
	w       io.Writer
	t       Terminal
	now     func() time.Time
	started time.Time
	next    time.Time // when it may be drawn again
	drawn   bool
}

// The pace of a Bar: what is done sooner than the delay needs none.
const (
	barDelay    = 500 * time.Millisecond
	barInterval = 200 * time.Millisecond
)

// NewBar writes to w, drawn as t allows.
func NewBar(w io.Writer, t Terminal) *Bar { return newBar(w, t, time.Now) }

func newBar(w io.Writer, t Terminal, now func() time.Time) *Bar {
	start := now()
	return &Bar{w: w, t: t, now: now, started: start, next: start.Add(barDelay)}
}

// Due says whether Draw would draw: its arguments need not be made otherwise.
func (b *Bar) Due() bool { return b != nil && b.t.Interactive && !b.now().Before(b.next) }

// Draw shows how much is done, from 0 to 1, and a text beside it. The time that
// is left is reckoned from the time that went by.
func (b *Bar) Draw(fraction float64, text string) {
	if !b.Due() {
		return
	}
	now := b.now()
	b.next = now.Add(barInterval)
	fraction = min(max(fraction, 0), 1)
	line := fmt.Sprintf(" %3.0f %%  %s", fraction*100, text)
	if spent := now.Sub(b.started); fraction >= 0.005 && fraction < 1 {
		left := time.Duration(float64(spent) * (1 - fraction) / fraction)
		line += ", " + roundDuration(left) + " left"
	}
	width := b.t.Width
	if width <= 0 {
		width = 80
	}
	if room := min(width-len(line)-3, 30); room >= 5 {
		full := int(fraction * float64(room))
		line = "[" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + "]" + line
	}
	if len(line) >= width {
		line = line[:width-1]
	}
	fmt.Fprint(b.w, "\r\x1b[K"+line)
	b.drawn = true
}

// Clear removes the bar. Safe twice.
func (b *Bar) Clear() {
	if b != nil && b.drawn {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.drawn = false
	}
}

// roundDuration has as many digits as an estimate deserves: 45s, 3m20s, 2h5m.
func roundDuration(d time.Duration) string {
	switch {
	case d < time.Minute:
		d = d.Round(time.Second)
	case d < time.Hour:
		d = d.Round(10 * time.Second)
	default:
		d = d.Round(time.Minute)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
