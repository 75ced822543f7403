package podlogs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// sinkFunc is a Sink.
type sinkFunc func(b *model.Batch) error

func (f sinkFunc) Append(_ context.Context, b *model.Batch) error { return f(b) }

// TestPiecesAfterARefusedOneAreRefused: a later position would cover the lines
// that were not stored.
func TestPiecesAfterARefusedOneAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stored []string
		release := make(chan struct{})
		calls := 0
		o := Options{Sink: sinkFunc(func(b *model.Batch) error {
			if calls++; calls == 1 {
				<-release
				return errors.New("disk full")
			}
			for _, s := range b.Streams {
				for _, e := range s.Entries {
					stored = append(stored, e.Line)
				}
			}
			return nil
		})}
		o.setDefaults()
		b := newBatcher(&o, newMetrics(), newLimitedLog(o.Logger))
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { defer close(done); b.run(t.Context(), stop) }()

		one, two := &session{target: &target{c: &Collector{}}}, &session{target: &target{c: &Collector{}}}
		submit := func(s *session, text string) {
			p := newPiece(10)
			p.session, p.labels = s, labels.FromStrings("app", "x")
			p.add(1, []byte(text), labels.EmptyLabels())
			p.pos = position{instance: text}
			p.addMark(model.Mark{Key: "k", Value: []byte(text)})
			if err := b.submit(t.Context(), p, time.Second); err != nil {
				t.Errorf("submit %s: %v", text, err)
			}
		}
		submit(one, "first")
		time.Sleep(time.Second) // the first batch is on its way to the disk
		submit(one, "second")
		submit(two, "other")
		close(release)
		if err := one.wait(); err == nil {
			t.Error("no error for a session of which a part was refused")
		}
		if err := two.wait(); err != nil {
			t.Errorf("error for the other session: %v", err)
		}
		close(stop)
		<-done
		if len(stored) != 1 || stored[0] != "other" {
			t.Errorf("stored %q, want only the other session's line", stored)
		}
		if got := one.target.position().instance; got != "" {
			t.Errorf("the refused session's position moved to %q", got)
		}
		if got := two.target.position().instance; got != "other" {
			t.Errorf("the other session's position is %q", got)
		}
	})
}

// TestBatchHoldsOneRunAndOnePositionPerTarget joins pieces of one target.
func TestBatchHoldsOneRunAndOnePositionPerTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var streams, marks, entries int
		var last string
		o := Options{Sink: sinkFunc(func(b *model.Batch) error {
			streams, marks, entries = len(b.Streams), len(b.Marks), b.Len()
			last = string(b.Marks[0].Value)
			return nil
		})}
		o.setDefaults()
		b := newBatcher(&o, newMetrics(), newLimitedLog(o.Logger))
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { defer close(done); b.run(t.Context(), stop) }()
		s := &session{target: &target{c: &Collector{}}}
		for _, text := range []string{"a", "b", "c"} {
			p := newPiece(10)
			p.session, p.labels = s, labels.FromStrings("app", "x")
			p.add(1, []byte(text), labels.EmptyLabels())
			p.addMark(model.Mark{Key: "k", Value: []byte(text)})
			if err := b.submit(t.Context(), p, time.Second); err != nil {
				t.Error(err)
			}
		}
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		close(stop)
		<-done
		if streams != 1 || marks != 1 || entries != 3 || last != "c" {
			t.Errorf("got %d streams, %d marks, %d entries, position %q; want 1, 1, 3, c", streams, marks, entries, last)
		}
	})
}
