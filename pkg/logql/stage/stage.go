package stage

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// Stage is one step of a pipeline. A stage belongs to one Pipeline: it may keep
// scratch memory between calls, but no state that lets one line influence the
// next; distinct is the exception.
type Stage interface {
	// Process handles one entry. It returns the line for the next stage and
	// whether the entry goes on; it reads and changes labels through b.
	//
	// line may alias memory of the batch. The returned line may alias line, or
	// memory of b or of the stage, and is valid until the next Process of the
	// same stage or Reset of b; who wants it longer clones it. A failure is not
	// an error of Process: it is set on b (Builder.SetErr).
	Process(ts int64, line string, b *Builder) (string, bool)
}

// Hints tell parsers which labels anything reads. A metric query that groups
// by a few labels needs no others; one that needs none at all runs without
// its parsers, so that a line they could not read is counted like any other.
type Hints struct {
	// All says that every label is needed.
	All bool
	// Names are the labels needed when All is false.
	Names []string
	// PreserveError says that the query looks at __error__ itself: an entry
	// with an error is a result like any other.
	PreserveError bool

	// parserNames is the number of Names that a parser can produce.
	parserNames int
	// named are Names where they are many; may are the names under which a parser
	// may find them.
	named, may map[string]struct{}
}

// AllLabels are the hints of a log query.
func AllLabels() *Hints { return &Hints{All: true} }

// NeededLabels are the hints of a metric query that reads only these labels.
func NeededLabels(names []string) *Hints {
	h := &Hints{}
	for _, n := range names {
		switch {
		case n == ErrorLabel || n == ErrorDetailsLabel:
			h.PreserveError = true
		case !h.needs(n):
			h.parserNames++
		}
		if !h.needs(n) {
			h.Names = append(h.Names, n)
		}
		if len(h.Names) > mapItems {
			h.index()
		}
	}
	return h
}

// index makes the maps of the names, or adds the last to them.
func (h *Hints) index() {
	fresh := h.Names[len(h.Names)-1:]
	if h.named == nil {
		h.named, h.may = map[string]struct{}{}, map[string]struct{}{}
		fresh = h.Names
	}
	for _, n := range fresh {
		h.named[n], h.may[n] = struct{}{}, struct{}{}
		if bare, ok := strings.CutSuffix(n, extractedSuffix); ok {
			h.may[bare] = struct{}{}
		}
	}
}

// None says that no label is needed, not even the errors.
func (h *Hints) None() bool { return !h.All && len(h.Names) == 0 }

func (h *Hints) needs(name string) bool {
	if h.named != nil {
		_, ok := h.named[name]
		return ok
	}
	for _, n := range h.Names {
		if n == name {
			return true
		}
	}
	return false
}

// mayNeed says whether a label that a parser finds under this name is needed,
// by that name or with the suffix that it may get: most are not, and this is
// quicker than to look for what they clash with.
func (h *Hints) mayNeed(name string) bool {
	if h.All {
		return true
	}
	if h.may != nil {
		_, ok := h.may[name]
		return ok
	}
	for _, n := range h.Names {
		if n == name || len(n) == len(name)+len(extractedSuffix) && strings.HasPrefix(n, name) && strings.HasSuffix(n, extractedSuffix) {
			return true
		}
	}
	return false
}

// missing counts the names that a parser could produce for a stream without
// these labels; 0 where there are no names to go by.
func (h *Hints) missing(stream labels.Labels) (n int) {
	if h == nil || h.All {
		return 0
	}
	for _, name := range h.Names {
		if name != ErrorLabel && name != ErrorDetailsLabel && !stream.Has(name) {
			n++
		}
	}
	return n
}
