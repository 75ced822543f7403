package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
)

// Limits of following lines that callers asked for.
const (
	maxEchoes  = 8
	echoExpiry = 2 * time.Minute
)

// echoes follows the lines that callers asked us to write into our own log
// ([lokiapi.EchoPath]): when each was stamped by the container runtime, when it
// was read back, and when it was stored. doctor makes the times of a line's way
// of them. While nobody asked, an append costs one atomic load.
type echoes struct {
	waiting atomic.Int32 // lines that were asked for and not stored yet
	now     func() time.Time

	mu   sync.Mutex // guards list and what it points to
	list []*lokiapi.EchoTrace
}

func newEchoes() *echoes { return &echoes{now: time.Now} }

// watch notes what is asked for before the server writes the line.
func (e *echoes) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == lokiapi.EchoPath {
			if token := r.URL.Query().Get("token"); lokiapi.ValidEchoToken(token) {
				e.begin(token)
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (e *echoes) begin(token string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, &lokiapi.EchoTrace{Token: token, Asked: e.now()})
	if len(e.list) > maxEchoes {
		e.list = e.list[1:]
	}
	e.count()
}

// count brings waiting up to date; mu is held.
func (e *echoes) count() {
	n := int32(0)
	for _, t := range e.list {
		if t.Stored.IsZero() && e.now().Sub(t.Asked) < echoExpiry {
			n++
		}
	}
	e.waiting.Store(n)
}

// traces are copies of all that are known, oldest first.
func (e *echoes) traces() []lokiapi.EchoTrace {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]lokiapi.EchoTrace, len(e.list))
	for i, t := range e.list {
		out[i] = *t
	}
	return out
}

// sink looks for the lines on their way into next.
func (e *echoes) sink(next podlogs.Sink) podlogs.Sink { return echoSink{e, next} }

type echoSink struct {
	echoes *echoes
	next   podlogs.Sink
}

func (s echoSink) Append(ctx context.Context, b *model.Batch) error {
	if s.echoes.waiting.Load() == 0 {
		return s.next.Append(ctx, b)
	}
	read := s.echoes.find(b)
	err := s.next.Append(ctx, b)
	if err == nil {
		s.echoes.stored(read)
	}
	return err
}

// echoWord is in every such line (the server's message).
const echoWord = "echo"

// find notes which lines are in a batch.
func (e *echoes) find(b *model.Batch) (found []*lokiapi.EchoTrace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	for i := range b.Streams {
		for j := range b.Streams[i].Entries {
			entry := &b.Streams[i].Entries[j]
			if !strings.Contains(entry.Line, echoWord) {
				continue
			}
			for _, t := range e.list {
				if t.Stored.IsZero() && strings.Contains(entry.Line, t.Token) {
					t.Written, t.Read = time.Unix(0, entry.Timestamp), now
					found = append(found, t)
				}
			}
		}
	}
	e.count()
	return found
}

func (e *echoes) stored(found []*lokiapi.EchoTrace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range found {
		t.Stored = e.now()
	}
	e.count()
}
