package output

import (
	"fmt"
	"io"
	"time"
)

// Progress reports steps of a long command on stderr: finished steps as lines,
// and on a terminal the present wait as a last line that is redrawn. It is used
// by one goroutine; the ticking of a wait is not animated, so that a log of the
// command reads like the command.
type Progress struct {
	w       io.Writer
	t       Terminal
	started time.Time
	waiting bool
}

// NewProgress writes to w, drawn as t allows.
func NewProgress(w io.Writer, t Terminal) *Progress {
	return &Progress{w: w, t: t, started: time.Now()}
}

// Step prints a finished step.
func (p *Progress) Step(text string) {
	p.clear()
	fmt.Fprintln(p.w, p.t.Paint(Green, "✓")+" "+text)
}

// Wait says what is being waited for, until the next call.
func (p *Progress) Wait(text string) {
	p.clear()
	since := p.t.Paint(Faint, fmt.Sprintf("(%.0f s)", time.Since(p.started).Seconds()))
	if !p.t.Interactive {
		fmt.Fprintln(p.w, "… waiting: "+text)
		return
	}
	fmt.Fprintf(p.w, "%s waiting: %s %s", p.t.Paint(Yellow, "…"), text, since)
	p.waiting = true
}

// Done removes a waiting line. Safe twice.
func (p *Progress) Done() { p.clear() }

func (p *Progress) clear() {
	if p.waiting {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.waiting = false
	}
}
