package engine

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// leavingStore gives one batch of few but long lines, and while it reads them the
// client leaves. Who asks for another batch has worked through all of the first.
type leavingStore struct {
	leave  context.CancelFunc
	asked  int
	closed chan struct{}
}

func (s *leavingStore) Select(context.Context, model.SelectRequest) (model.BatchIterator, error) {
	return s, nil
}

func (s *leavingStore) Tail(context.Context, model.TailRequest) (model.BatchIterator, error) {
	return s, nil
}

func (s *leavingStore) Next(ctx context.Context) (*model.EntryBatch, error) {
	if s.asked++; s.asked > 1 {
		return nil, io.EOF
	}
	s.leave()
	<-ctx.Done()
	b := &model.EntryBatch{Streams: []labels.Labels{labels.FromStrings("app", "a")}}
	line := strings.Repeat("level=info ", 256<<10/11)
	for i := range 64 {
		b.StreamIndex = append(b.StreamIndex, 0)
		b.Timestamps = append(b.Timestamps, zero+int64(i))
		b.Lines = append(b.Lines, line)
	}
	return b, nil
}

func (s *leavingStore) Stats() model.SelectStats { return model.SelectStats{} }

func (s *leavingStore) Close() error { close(s.closed); return nil }

// TestEndsWithinABatch checks that a query ends soon after its client has left,
// however few and long the lines of a batch are.
func TestEndsWithinABatch(t *testing.T) {
	for _, query := range []string{
		`{app="a"} | logfmt`,
		`{app="a"} |~ "n[o0]where"`,
		`{app="a"} | regexp "(?P<x>n[o0]where)"`,
		`sum by (level) (count_over_time({app="a"} | logfmt [1m]))`,
		`count_over_time({app="a"} !~ "n[o0]where" [1m])`,
	} {
		ctx, cancel := context.WithCancel(context.Background())
		s := &leavingStore{leave: cancel, closed: make(chan struct{})}
		p := params(query)
		p.Start, p.End = zero, zero+int64(p.Step)
		if _, err := New(s, Options{CacheBytes: -1, ExtraWorkers: -1}).Range(ctx, p); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", query, err)
		}
		<-s.closed
		if s.asked != 1 {
			t.Errorf("%s: went through all lines", query)
		}
	}
	for _, query := range []string{`{app="a"} | logfmt`, `{app="a"} |~ "n[o0]where"`} {
		ctx, cancel := context.WithCancel(context.Background())
		s := &leavingStore{leave: cancel, closed: make(chan struct{})}
		lt, err := New(s, Options{}).Tail(ctx, s, query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lt.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("tail of %s: %v", query, err)
		}
		if err := lt.Close(); err != nil || s.asked != 1 {
			t.Errorf("tail of %s: %v, %d batches", query, err, s.asked)
		}
	}
}
