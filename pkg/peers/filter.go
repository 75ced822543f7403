package peers

import (
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// rowFilter leaves out rows that a reader cannot use, by the hints of its request:
// a store goes by them as far as that is cheap, but what goes to another replica is
// packed, sent and merged.
type rowFilter struct {
	all, any, none []string
	out            model.EntryBatch
}

// newRowFilter returns nil where all rows may be of use.
func newRowFilter(r *model.SelectRequest) *rowFilter {
	f := &rowFilter{all: r.Contains, any: r.ContainsAny, none: r.ContainsNone}
	if r.AnyFold {
		f.any = nil
	}
	if len(f.all)+len(f.any)+len(f.none) == 0 || r.TimesOnly {
		return nil
	}
	return f
}

// wants says whether a line is of use.
func (f *rowFilter) wants(line string) bool {
	for _, s := range f.all {
		if !strings.Contains(line, s) {
			return false
		}
	}
	for _, s := range f.none {
		if s != "" && strings.Contains(line, s) {
			return false
		}
	}
	for _, s := range f.any {
		if strings.Contains(line, s) {
			return true
		}
	}
	return len(f.any) == 0
}

// pass returns the rows of a batch that are of use. They are parts of it.
func (f *rowFilter) pass(b *model.EntryBatch) *model.EntryBatch {
	if f == nil || len(b.Lines) == 0 {
		return b
	}
	f.out.Reset()
	out := &f.out
	for i, line := range b.Lines {
		if !f.wants(line) {
			continue
		}
		out.StreamIndex = append(out.StreamIndex, b.StreamIndex[i])
		out.Timestamps = append(out.Timestamps, b.Timestamps[i])
		out.Lines = append(out.Lines, line)
		if len(b.Metadata) > 0 {
			out.Metadata = append(out.Metadata, b.Metadata[i])
		}
	}
	res := *out
	res.Streams = b.Streams
	if len(b.Metadata) == 0 {
		res.Metadata = nil
	}
	res.Counts = nil
	return &res
}
