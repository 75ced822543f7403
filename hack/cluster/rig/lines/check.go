package lines

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Gap is a place that the collector marked as possibly incomplete. Every field
// but Run is part of the report only.
type Gap struct {
	// Run names the run whose lines may be missing there, as far as the caller
	// can tell from the gap's labels; empty means any run of the result.
	Run string
	// From and To bound the time of the missing lines. A zero bound is open.
	From, To time.Time
	Reason   string
}

// Expect is what was written in one run.
type Expect struct {
	Run   string
	Lines int64
	// Times of the lines by number, if the caller has them: a gap then excuses
	// only lines inside its bounds. Nil trusts every gap of the run.
	Times []time.Time
}

// Check compares query results with what was written. Feed it with Add in the
// order of the result, oldest first, and ask for the Report at the end.
type Check struct {
	runs    map[string]*run
	order   []string
	gaps    []Gap
	strange []string
	entries int64
}

type run struct {
	seen      []int64 // times seen, by number
	last      int64
	disorder  []int64
	damaged   []int64
	surprises []int64 // numbers never written
}

// NewCheck returns an empty check.
func NewCheck() *Check { return &Check{runs: map[string]*run{}} }

// Add takes one entry of the result. Lines that carry no number are strange:
// they are reported, because nothing else was written.
func (c *Check) Add(text string) {
	c.entries++
	l, ok := Parse(text)
	if !ok {
		c.strange = append(c.strange, text)
		return
	}
	r := c.runs[l.Run]
	if r == nil {
		r = &run{last: -1}
		c.runs[l.Run] = r
		c.order = append(c.order, l.Run)
	}
	if !l.Intact {
		r.damaged = append(r.damaged, l.Seq)
	}
	const limit = 1 << 26 // a damaged number must not make us allocate the world
	if l.Seq >= limit {
		r.surprises = append(r.surprises, l.Seq)
		return
	}
	for int64(len(r.seen)) <= l.Seq {
		r.seen = append(r.seen, 0)
	}
	r.seen[l.Seq]++
	if l.Seq < r.last {
		r.disorder = append(r.disorder, l.Seq)
	}
	r.last = l.Seq
}

// AddGap takes a gap marker of the result.
func (c *Check) AddGap(g Gap) { c.gaps = append(c.gaps, g) }

// Entries returns how many entries have been added.
func (c *Check) Entries() int64 { return c.entries }

// Complete reports whether every expected line has been seen: a cheap question
// for waiting, whatever else may be wrong.
func (c *Check) Complete(expect []Expect) bool {
	for _, e := range expect {
		r := c.runs[e.Run]
		if r == nil {
			if e.Lines > 0 {
				return false
			}
			continue
		}
		if int64(len(r.seen)) < e.Lines || slices.Contains(r.seen[:e.Lines], 0) {
			return false
		}
	}
	return true
}

// Report is the outcome. The zero lists mean that the invariant holds.
type Report struct {
	Missing    []string // L1: written, not in the result, no gap there
	Excused    int64    // missing, inside a gap
	Doubled    []string // L2
	Disordered []string // L3: number after a higher one of its run
	Damaged    []string // L4: the checksum does not hold
	IdleGaps   []Gap    // L5: gaps where nothing is missing
	Strange    []string // not one of ours
	Gaps       int
}

// OK reports whether every invariant holds.
func (r Report) OK() bool {
	return len(r.Missing)+len(r.Doubled)+len(r.Disordered)+len(r.Damaged)+len(r.IdleGaps)+len(r.Strange) == 0
}

// String tells all that is wrong, shortened.
func (r Report) String() string {
	var b strings.Builder
	for _, part := range []struct {
		title string
		items []string
	}{
		{"L1 missing", r.Missing}, {"L2 doubled", r.Doubled}, {"L3 out of order", r.Disordered},
		{"L4 damaged", r.Damaged}, {"not ours", r.Strange},
	} {
		if len(part.items) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s:\n", part.title)
		for i, item := range part.items {
			if i == 10 {
				fmt.Fprintf(&b, "  … %d more\n", len(part.items)-i)
				break
			}
			fmt.Fprintf(&b, "  %.300s\n", item)
		}
	}
	for _, g := range r.IdleGaps {
		fmt.Fprintf(&b, "L5 gap without loss: run %q reason %q from %s to %s\n", g.Run, g.Reason, g.From, g.To)
	}
	fmt.Fprintf(&b, "%d gaps, %d lines excused by them", r.Gaps, r.Excused)
	return b.String()
}

// Report compares everything added with what was written.
func (c *Check) Report(expect []Expect) Report {
	rep := Report{Gaps: len(c.gaps)}
	used := make([]bool, len(c.gaps))
	known := map[string]bool{}
	for _, e := range expect {
		known[e.Run] = true
		r := c.runs[e.Run]
		if r == nil {
			r = &run{}
		}
		c.compare(&rep, e, r, used)
	}
	for _, name := range c.order {
		if !known[name] {
			rep.Strange = append(rep.Strange, fmt.Sprintf("run %s, which nobody wrote", name))
		}
	}
	for i, u := range used {
		if !u {
			rep.IdleGaps = append(rep.IdleGaps, c.gaps[i])
		}
	}
	for _, s := range c.strange {
		rep.Strange = append(rep.Strange, fmt.Sprintf("%q", s))
	}
	return rep
}

func (c *Check) compare(rep *Report, e Expect, r *run, used []bool) {
	var missing []int64
	for seq := range e.Lines {
		times := int64(0)
		if seq < int64(len(r.seen)) {
			times = r.seen[seq]
		}
		if times > 1 {
			rep.Doubled = append(rep.Doubled, fmt.Sprintf("%s/%d: %d times", e.Run, seq, times))
		}
		if times > 0 {
			continue
		}
		if i := c.excuse(e, seq); i >= 0 {
			used[i] = true
			rep.Excused++
		} else {
			missing = append(missing, seq)
		}
	}
	rep.Missing = append(rep.Missing, ranges(e.Run, missing, e.Lines)...)
	for _, seq := range r.disorder {
		rep.Disordered = append(rep.Disordered, fmt.Sprintf("%s/%d", e.Run, seq))
	}
	for _, seq := range r.damaged {
		rep.Damaged = append(rep.Damaged, fmt.Sprintf("%s/%d", e.Run, seq))
	}
	for seq := e.Lines; seq < int64(len(r.seen)); seq++ {
		if r.seen[seq] > 0 {
			rep.Strange = append(rep.Strange, fmt.Sprintf("%s/%d, only %d lines were written", e.Run, seq, e.Lines))
		}
	}
	for _, seq := range r.surprises {
		rep.Strange = append(rep.Strange, fmt.Sprintf("%s/%d, only %d lines were written", e.Run, seq, e.Lines))
	}
}

// excuse returns the gap that covers a missing line, -1 if none does.
func (c *Check) excuse(e Expect, seq int64) int {
	for i, g := range c.gaps {
		if g.Run != "" && g.Run != e.Run {
			continue
		}
		if seq < int64(len(e.Times)) {
			t := e.Times[seq]
			if !g.From.IsZero() && t.Before(g.From) || !g.To.IsZero() && t.After(g.To) {
				continue
			}
		}
		return i
	}
	return -1
}

// ranges writes numbers as "run/3..7 of 100".
func ranges(name string, seqs []int64, total int64) []string {
	var out []string
	for i := 0; i < len(seqs); {
		j := i
		for j+1 < len(seqs) && seqs[j+1] == seqs[j]+1 {
			j++
		}
		if i == j {
			out = append(out, fmt.Sprintf("%s/%d of %d", name, seqs[i], total))
		} else {
			out = append(out, fmt.Sprintf("%s/%d..%d of %d", name, seqs[i], seqs[j], total))
		}
		i = j + 1
	}
	return out
}
