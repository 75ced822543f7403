package podlogs

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// optedOut says whether a target was stopped because its logs are no longer
// wanted.
func (c *Collector) optedOut(r *running) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, deleted := r.snapshot()
	return r.stopping && r.wanted == nil && !r.released && !deleted && !c.closing
}

// unlabel removes the stored labels of a container that opted out: if its pod is
// gone when the next collector starts, there is no stream for a gap entry then,
// and what it wrote since it opted out was not wanted. The position stays, for the
// day it is collected again.
func (t *target) unlabel(ctx context.Context) {
	v, _ := t.snapshot()
	if t.position().instance == "" {
		return
	}
	r := t.newReading(ctx, v)
	defer r.close()
	r.unlabel, r.piece = true, newPiece(0)
	if err := r.finishQuietly(); err == nil {
		t.mu.Lock()
		t.storedLabels = labels.EmptyLabels()
		t.mu.Unlock()
	}
}

// outside says whether a position may belong to a pod of a namespace that this
// collector does not look at, though an earlier one did. Its pod may well live.
func (c *Collector) outside(s saved) bool {
	if len(c.opts.Namespaces) == 0 {
		return false
	}
	ns := s.labels.Get("namespace")
	return ns == "" || !slices.Contains(c.opts.Namespaces, ns)
}
