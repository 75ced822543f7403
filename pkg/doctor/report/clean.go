package report

import (
	"slices"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
)

// Clean returns a copy of r whose texts cannot steer a terminal: names of
// objects and files, events and quoted lines come from clusters and
// repositories. line treats what may have several lines, cell what has to stay
// on its line (Line and Cell of output.Terminal). For the formats that people
// read; those for programs escape by themselves.
func Clean(r *doctor.Report, line, cell func(string) string) *doctor.Report {
	c := *r
	c.Findings = slices.Clone(r.Findings)
	for i := range c.Findings {
		f := &c.Findings[i]
		for _, s := range []*string{&f.Object, &f.Right, &f.Suppressed} {
			*s = cell(*s)
		}
		for _, s := range []*string{&f.Detail, &f.Fix, &f.Patch} {
			*s = line(*s)
		}
	}
	return &c
}
