package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// Status is the outcome of a check for one object.
type Status string

// The outcomes, from good to bad; Skip and None stand apart.
const (
	OK      Status = "ok"
	Info    Status = "info"
	Warning Status = "warning"
	Error   Status = "error"
	Skip    Status = "skip" // could not look: never a pass
	None    Status = "none" // there is nothing to look at
)

// Finding is an answer of a check.
type Finding struct {
	Code     string `json:"code"`
	Category string `json:"category"`
	Title    string `json:"title"`
	Status   Status `json:"status"`
	// Object is kind/namespace/name, or the place in a file, for people.
	Object string `json:"object,omitempty"`
	// Ref is the same for programs.
	Ref snapshot.Ref `json:"ref,omitzero"`
	// Detail is the proof.
	Detail string `json:"detail,omitempty"`
	// Fix is what to do, ready to paste where possible.
	Fix string `json:"fix,omitempty"`
	// Patch is what --fix prints: a values diff, a manifest, commands.
	Patch string `json:"patch,omitempty"`
	// Explains names the symptoms of this cause: "LS0504", or
	// "LS0401@pod/monitoring/loki-*" with a glob for the symptom's object.
	Explains []string `json:"explains,omitempty"`
	// ExplainedBy is the place in the report of the finding that is the cause.
	ExplainedBy *int `json:"explainedBy,omitempty"`
	// Suppressed is the reason of the suppression that took this finding out.
	Suppressed string `json:"suppressed,omitempty"`
	// Right is what a skip lacks.
	Right string `json:"right,omitempty"`
}

// Problem says whether the finding is an error or a warning.
func (f *Finding) Problem() bool {
	return f.Suppressed == "" && (f.Status == Error || f.Status == Warning)
}

// Check is one question.
type Check struct {
	Code     string
	Category string // filled in by Checks
	// Severity is the worst status that it can find.
	Severity Status
	// Title says what holds when all is well.
	Title string
	// Explain is the long text of `doctor --explain CODE`.
	Explain string
	// Fix is the general remedy; findings carry a concrete one.
	Fix string
	// Needs are the inputs without which the check is skipped, Uses those that
	// it reads as well.
	Needs, Uses []snapshot.Input
	// Transient marks what may mend itself within a minute: --wait asks again.
	Transient bool
	// Applies says whether there is anything to look at; nil: always.
	Applies func(*snapshot.Snapshot) bool
	// Run returns what is wrong; nothing means OK.
	Run func(*snapshot.Snapshot) []Finding
}

// inputs are all that the check may read.
func (c *Check) inputs() []snapshot.Input { return append(slices.Clone(c.Needs), c.Uses...) }

// Report is the outcome of all checks, in their order.
type Report struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Context    string    `json:"context,omitempty"`
	Namespace  string    `json:"namespace"`
	Sources    []string  `json:"sources,omitempty"` // files that were examined
	Findings   []Finding `json:"findings"`
	// Counts are the findings by status, Checks the checks by their worst one:
	// the numbers of Summary. Of both, what is suppressed is left out.
	Counts   map[Status]int `json:"counts"`
	Checks   map[Status]int `json:"checks"`
	Summary  string         `json:"summary"`
	ExitCode int            `json:"exitCode"`

	noServer bool // a cluster was asked and did not answer
}

// RunOptions choose checks and judge the result.
type RunOptions struct {
	// Only and Skip select checks by code, code prefix (LS05) or category slug.
	Only, Skip []string
	// Suppressions take findings out, with a reason.
	Suppressions []Suppression
	// FailOn is the least status that gives exit code 1; None for never.
	FailOn Status
	// Strict makes a skip exit code 3.
	Strict bool
}

// Run asks every check. A finding that another one explains is left in, with a
// pointer to its cause, so that nothing is hidden; a printer may fold it.
func Run(s *snapshot.Snapshot, checks []Check, o RunOptions) *Report {
	r := &Report{APIVersion: "logstack.dev/v1", Kind: "DoctorReport", Context: s.Context, Namespace: s.Namespace, Counts: map[Status]int{}, Findings: []Finding{}}
	for i := range checks {
		c := &checks[i]
		if !selected(c, o.Only, o.Skip) {
			continue
		}
		for _, f := range answer(s, c) {
			f.Code, f.Category, f.Title = c.Code, c.Category, c.Title
			if f.Object == "" {
				f.Object = objectOf(f.Ref)
			}
			suppress(&f, o.Suppressions, s.Taken)
			r.Findings = append(r.Findings, f)
		}
	}
	r.link()
	for i := range r.Findings {
		if r.Findings[i].Suppressed == "" {
			r.Counts[r.Findings[i].Status]++
		}
	}
	r.noServer = s.Missing(snapshot.Server) != nil && !s.Missing(snapshot.Server).Offline
	r.Checks, _ = r.outcomes()
	r.Summary = r.summary()
	r.ExitCode = r.exitCode(o)
	return r
}

// objectOf writes a Ref for people: the place in the file, and the object.
func objectOf(r snapshot.Ref) string {
	s := r.String()
	if r.File != "" && r.Kind != "" {
		s += " (" + r.Object() + ")"
	}
	return s
}

func answer(s *snapshot.Snapshot, c *Check) []Finding {
	view, _ := s.For(c.inputs()...)
	return ask(view, c)
}

// ask puts the question to a view. A check that panics is a skip: one broken
// rule must not hide the answers of the others.
func ask(view *snapshot.Snapshot, c *Check) (out []Finding) {
	defer func() {
		if p := recover(); p != nil {
			out = []Finding{{Status: Skip, Detail: fmt.Sprintf("the check failed: %v (please report this)", p)}}
		}
	}()
	for _, in := range c.Needs {
		switch m := view.Missing(in); {
		case m == nil || m.Offline:
		case m.Absent:
			return []Finding{{Status: None, Detail: m.Error()}}
		default:
			return []Finding{skip(in, m)}
		}
	}
	if c.Applies != nil && !c.Applies(view) {
		return []Finding{{Status: None, Detail: "there is nothing to look at"}}
	}
	for _, in := range c.Needs {
		if m := view.Missing(in); m != nil {
			if c.Applies == nil || m.Err != nil {
				return []Finding{{Status: None, Detail: "no cluster was asked"}}
			}
			return []Finding{skip(in, m)}
		}
	}
	if out = append(c.Run(view), unread(view, c)...); len(out) > 0 {
		return out
	}
	return []Finding{{Status: OK, Detail: scopeNote(view, c.Needs)}}
}

// skip says what could not be looked at, and the right that lacks.
func skip(in snapshot.Input, m *snapshot.Missing) Finding {
	line, _, _ := strings.Cut(m.Error(), "\n")
	f := Finding{Status: Skip, Detail: fmt.Sprintf("could not look at %s: %s", in, line)}
	if m.Right != nil {
		f.Right = m.Right.String()
	}
	return f
}

// scopeNote says where a passed check has looked, when that was not everywhere.
func scopeNote(s *snapshot.Snapshot, needs []snapshot.Input) string {
	for _, in := range needs {
		if scope := s.Scope(in); scope != nil && s.Live() && !laterInput(in) {
			return fmt.Sprintf("%s of namespace %s only", in, strings.Join(scope, ", "))
		}
	}
	return ""
}

// laterInput: these are read where log stacks are, which is all that is asked.
func laterInput(in snapshot.Input) bool {
	return in == snapshot.ConfigMaps || in == snapshot.Roles || in == snapshot.ServiceAccounts || in == snapshot.Leases
}

// link connects causes with their symptoms.
func (r *Report) link() {
	for i := range r.Findings {
		cause := &r.Findings[i]
		if !cause.Problem() && cause.Status != Info {
			continue
		}
		for _, e := range cause.Explains {
			code, glob, _ := strings.Cut(e, "@")
			for j := range r.Findings {
				f := &r.Findings[j]
				if i == j || f.Code != code || !f.Problem() || f.ExplainedBy != nil || r.leadsTo(i, j) {
					continue
				}
				if glob != "" && !matches(glob, f) {
					continue
				}
				n := i
				f.ExplainedBy = &n
			}
		}
	}
}

// leadsTo says whether j is already a cause of i: two findings must not
// explain each other.
func (r *Report) leadsTo(i, j int) bool {
	for n := 0; n <= len(r.Findings); n++ {
		if i == j {
			return true
		}
		if r.Findings[i].ExplainedBy == nil {
			return false
		}
		i = *r.Findings[i].ExplainedBy
	}
	return true
}

func matches(glob string, f *Finding) bool {
	for _, s := range []string{f.Ref.Object(), f.Object, f.Ref.File} {
		if ok, err := path.Match(glob, s); err == nil && ok && s != "" {
			return true
		}
	}
	return false
}

// Symptoms are the findings that finding i explains.
func (r *Report) Symptoms(i int) []*Finding {
	var out []*Finding
	for j := range r.Findings {
		if by := r.Findings[j].ExplainedBy; by != nil && *by == i {
			out = append(out, &r.Findings[j])
		}
	}
	return out
}

// Worst is the worst outcome; a report of nothing but skips is Skip, one of
// nothing at all None.
func (r *Report) Worst() Status {
	for _, s := range []Status{Error, Warning, Info, OK, Skip} {
		if r.Counts[s] > 0 {
			return s
		}
	}
	return None
}

// The exit codes of every output format.
const (
	ExitOK       = 0
	ExitFindings = 1
	ExitUsage    = 2 // set by the command
	ExitBlind    = 3 // no connection, or nothing could be looked at
)

func (r *Report) exitCode(o RunOptions) int {
	worst := r.Worst()
	switch {
	case r.noServer, worst == Skip, worst == None, o.Strict && r.Counts[Skip] > 0:
		return ExitBlind
	case o.FailOn == None:
		return ExitOK
	case worst == Error, worst == Warning && o.FailOn == Warning, worst == Info && o.FailOn == Info, worst == Warning && o.FailOn == Info:
		return ExitFindings
	}
	return ExitOK
}

// severity orders the outcomes of one check: what it comes to is the first that
// it has. A skip outweighs what was found to be well: it was not all looked at.
var severity = []Status{Error, Warning, Skip, Info, OK}

// outcomes are the checks by what each comes to. One whose findings are all
// suppressed is counted apart, one without anything to look at not at all.
func (r *Report) outcomes() (by map[Status]int, suppressed int) {
	by = map[Status]int{}
	found := map[string][]Status{}
	hidden := map[string]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		switch {
		case f.Suppressed != "":
			hidden[f.Code] = true
		case f.Status != None:
			found[f.Code] = append(found[f.Code], f.Status)
		}
	}
	for code := range hidden {
		if found[code] == nil {
			suppressed++
		}
	}
	for _, have := range found {
		by[severity[slices.IndexFunc(severity, func(s Status) bool { return slices.Contains(have, s) })]]++
	}
	return by, suppressed
}

// summary is the last line of every report. It counts checks: its numbers add
// up to the first one.
func (r *Report) summary() string {
	by, suppressed := r.outcomes()
	n := suppressed
	for _, c := range by {
		n += c
	}
	if n == 0 {
		return "0 checks: there was nothing to examine"
	}
	parts := []string{fmt.Sprintf("%d ok", by[OK])}
	add := func(n int, one, many string) {
		if n == 1 {
			parts = append(parts, "1 "+one)
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(by[Info], "info", "info")
	add(by[Warning], "warning", "warnings")
	add(by[Error], "error", "errors")
	skipped := "skipped"
	if r.lacksRights() {
		skipped += " (no permission)"
	}
	add(by[Skip], skipped, skipped)
	add(suppressed, "suppressed", "suppressed")
	return plural(n, "check") + ": " + strings.Join(parts, ", ")
}

// plural is "1 check" or "2 checks".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func (r *Report) lacksRights() bool {
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Status == Skip && f.Right == "" {
			return false
		}
	}
	return true
}

// Waiting is the first problem that may mend itself and that waiting could
// still help; "" when there is none. What nothing but a person can mend (an
// image that does not exist, a pod that fits on no node) ends the wait.
func (r *Report) Waiting() string {
	for i := range r.Findings {
		f := &r.Findings[i]
		c, ok := Lookup(f.Code)
		if ok && c.Transient && f.Status == Error && f.Suppressed == "" && f.ExplainedBy == nil && !hopeless(f) {
			return f.Code + " " + f.Object + ": " + f.Detail
		}
	}
	return ""
}

// hopeless says whether only a person can mend it.
func hopeless(f *Finding) bool {
	if strings.Contains(f.Detail, scalingUp) {
		return false // a node is on its way
	}
	for _, w := range []string{"not found", "manifest unknown", "InvalidImageName", "two registries", "Insufficient", "scaled to 0", "matches no pod", "does not exist", "no default one", "suspended", "stalled", "exhausted", "forbidden", "ErrImageNeverPull"} {
		if strings.Contains(f.Detail, w) {
			return true
		}
	}
	return false
}
