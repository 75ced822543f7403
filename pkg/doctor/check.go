package doctor

import (
	"fmt"
	"strings"
)

// Status is the outcome of a check for one object.
type Status string

// The outcomes, from good to bad; Skip stands apart.
const (
	OK      Status = "ok"
	Info    Status = "info"
	Warning Status = "warning"
	Error   Status = "error"
	Skip    Status = "skip"
)

// Finding is an answer of a check.
type Finding struct {
	Code     string   `json:"code"`
	Category string   `json:"category"`
	Title    string   `json:"title"`
	Status   Status   `json:"status"`
	Object   string   `json:"object,omitempty"`   // kind/namespace/name or file:line:column
	Detail   string   `json:"detail,omitempty"`   // the proof
	Fix      string   `json:"fix,omitempty"`      // what to do, ready to paste where possible
	Explains []string `json:"explains,omitempty"` // codes of findings that this one causes
}

// Check is one question.
type Check struct {
	Code     string
	Category string
	Title    string // what holds when all is well
	// Explain is the long text of `doctor --explain CODE`.
	Explain string
	Needs   []Part
	// OfStack marks a question about the installed stack: without one there is
	// nothing to pass.
	OfStack bool
	// Run returns what is wrong; nothing means OK.
	Run func(*Snapshot) []Finding
}

// Report is the outcome of all checks, in their order.
type Report struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Context    string         `json:"context,omitempty"`
	Namespace  string         `json:"namespace"`
	Findings   []Finding      `json:"findings"`
	Counts     map[Status]int `json:"counts"`
}

// Run asks every check. A finding that another one explains is left in, after
// its cause, so that nothing is hidden; a printer may fold it.
func Run(s *Snapshot, checks []Check) *Report {
	r := &Report{APIVersion: "logstack.dev/v1", Kind: "DoctorReport", Context: s.Context, Namespace: s.Namespace, Counts: map[Status]int{}}
	for _, c := range checks {
		for _, f := range answer(s, c) {
			f.Code, f.Category, f.Title = c.Code, c.Category, c.Title
			r.Findings = append(r.Findings, f)
			r.Counts[f.Status]++
		}
	}
	return r
}

func answer(s *Snapshot, c Check) []Finding {
	for _, p := range c.Needs {
		if err, missing := s.Missing[p]; missing {
			return []Finding{{Status: Skip, Detail: fmt.Sprintf("could not look at %s: %s", p, oneLine(err))}}
		}
	}
	if c.OfStack && s.StatefulSet == nil && s.Missing[PartWorkload] == nil {
		return []Finding{{Status: Skip, Detail: "no stack is installed"}}
	}
	if fs := c.Run(s); len(fs) > 0 {
		return fs
	}
	return []Finding{{Status: OK}}
}

// Worst is the worst outcome; a report of nothing but skips is Skip.
func (r *Report) Worst() Status {
	for _, s := range []Status{Error, Warning, Info, OK} {
		if r.Counts[s] > 0 {
			return s
		}
	}
	return Skip
}

// Summary is the last line of every report.
func (r *Report) Summary() string {
	n := 0
	for _, c := range r.Counts {
		n += c
	}
	parts := []string{fmt.Sprintf("%d ok", r.Counts[OK])}
	for _, k := range []struct {
		s    Status
		name string
	}{{Info, "info"}, {Warning, "warnings"}, {Error, "errors"}, {Skip, "skipped"}} {
		if r.Counts[k.s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", r.Counts[k.s], k.name))
		}
	}
	return fmt.Sprintf("%d checks: %s", n, strings.Join(parts, ", "))
}

func oneLine(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s
}
