package stage

import (
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// predicate is a condition on the labels of an entry. match may set an error
// on b: a value that cannot be converted keeps the entry and marks it.
type predicate interface {
	match(b *Builder) bool
}

// labelFilterStage is "| status>=500 and method="GET"".
type labelFilterStage struct {
	p predicate
}

func (st labelFilterStage) Process(_ int64, line string, b *Builder) (string, bool) {
	return line, st.p.match(b)
}

// NewLabelFilter returns the stage of a label filter.
func NewLabelFilter(p logql.Predicate) (Stage, error) {
	m, err := compilePredicate(p)
	if err != nil {
		return nil, err
	}
	return labelFilterStage{m}, nil
}

func compilePredicate(p logql.Predicate) (predicate, error) {
	switch p := p.(type) {
	case *logql.BoolFilter:
		left, err := compilePredicate(p.Left)
		if err != nil {
			return nil, err
		}
		right, err := compilePredicate(p.Right)
		if err != nil {
			return nil, err
		}
		if p.Or {
			return orFilter{left, right}, nil
		}
		return andFilter{left, right}, nil
	case *logql.StringFilter:
		return &stringFilter{newLabelMatcher(p.Matcher)}, nil
	case *logql.NumberFilter:
		return &numberFilter{p.Name, p.Op, p.Value, parseNumber}, nil
	case *logql.DurationFilter:
		// Nanoseconds fit a float64 exactly up to 104 days; literals and values
		// beyond compare to within a microsecond.
		return &numberFilter{p.Name, p.Op, float64(p.Value), parseNanoseconds}, nil
	case *logql.BytesFilter:
		return &numberFilter{p.Name, p.Op, float64(p.Value), parseBytes}, nil
	case *logql.IPFilter:
		r, err := logql.ParseIPRange(p.Range)
		if err != nil {
			return nil, err
		}
		return &ipLabelFilter{p.Name, p.Negate, r}, nil
	}
	return nil, unknownNode(p)
}

type andFilter struct{ left, right predicate }

func (f andFilter) match(b *Builder) bool { return f.left.match(b) && f.right.match(b) }

type orFilter struct{ left, right predicate }

// The left side is asked first and its error stays even when the right side
// decides, as in Loki.
func (f orFilter) match(b *Builder) bool { return f.left.match(b) || f.right.match(b) }

type stringFilter struct{ labelMatcher }

func (f *stringFilter) match(b *Builder) bool {
	v, _ := b.Get(f.m.Name)
	return f.matches(v, &b.watch)
}

// numberFilter compares a label with a number, after a conversion.
type numberFilter struct {
	name    string
	op      logql.CompareOp
	want    float64
	convert func(string) (float64, error)
}

func (f *numberFilter) match(b *Builder) bool {
	text, ok := b.Get(f.name)
	if !ok || f.name == ErrorLabel || f.name == ErrorDetailsLabel { // as in Loki, these are no numbers ever
		return false
	}
	if !b.watch.spend(len(text)) {
		return false
	}
	v, err := f.convert(text)
	if err != nil {
		if b.Err() == "" { // what went wrong first is the cause
			b.SetErr(ErrLabelFilter, err.Error())
		}
		return true
	}
	return compare(f.op, v, f.want)
}

func compare(op logql.CompareOp, v, want float64) bool {
	switch op {
	case logql.CompareEqual:
		return v == want
	case logql.CompareNotEqual:
		return v != want
	case logql.CompareGreater:
		return v > want
	case logql.CompareGreaterEqual:
		return v >= want
	case logql.CompareLess:
		return v < want
	default:
		return v <= want
	}
}

func parseNumber(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

// parseNanoseconds reads a Go duration, as programs print them. "1d" is none.
func parseNanoseconds(s string) (float64, error) {
	d, err := time.ParseDuration(s)
	return float64(d), err
}

func parseSeconds(s string) (float64, error) {
	d, err := time.ParseDuration(s)
	return d.Seconds(), err
}

// parseBytes reads "5 MB", "5MiB" or "12".
func parseBytes(s string) (float64, error) {
	n, err := humanize.ParseBytes(s)
	return float64(n), err
}

// ipLabelFilter asks whether a label holds an address inside a range. A missing
// label drops the entry, also for !=. As in Loki, text without an address is
// merely outside, and an entry that has an error passes.
type ipLabelFilter struct {
	name   string
	negate bool
	r      logql.IPRange
}

func (f *ipLabelFilter) match(b *Builder) bool {
	if b.err != "" {
		return true
	}
	text, ok := b.Get(f.name)
	return ok && holdsAddr(text, f.r) != f.negate
}
