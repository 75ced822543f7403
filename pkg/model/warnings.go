package model

import (
	"context"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
)

// Warnings gathers what somebody who gets an answer has to know about it, such
// as that a part of the entries could not be asked for. It is safe for
// concurrent use.
type Warnings struct {
	mu   sync.Mutex
	list []string
}

type warningsKey struct{}

// WithWarnings returns a context whose reads note their warnings in the
// Warnings. One that stands around them gets nothing.
func WithWarnings(ctx context.Context) (context.Context, *Warnings) {
	w := &Warnings{}
	return context.WithValue(ctx, warningsKey{}, w), w
}

// Warn notes a warning for whoever asked with this context. The same text is
// noted once.
func Warn(ctx context.Context, text string) {
	w := WarningsOf(ctx)
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.list, text) {
		w.list = append(w.list, text)
	}
}

// WarningsOf returns the Warnings of a context; nil is none.
func WarningsOf(ctx context.Context) *Warnings {
	w, _ := ctx.Value(warningsKey{}).(*Warnings)
	return w
}

// List returns what has been noted, in that order; nil is none.
func (w *Warnings) List() []string {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.list)
}

// Take returns what has been noted since the last Take.
func (w *Warnings) Take() []string {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.list
	w.list = nil
	return out
}

// Span is a closed interval of timestamps.
type Span struct{ Min, Max int64 }

// StreamSpans says when a stream has entries: all of them lie in one of the
// spans, which are sorted and apart from each other. It is a bound, not a
// promise: a span may be wider than the entries in it.
type StreamSpans struct {
	Labels labels.Labels
	Spans  []Span
}
