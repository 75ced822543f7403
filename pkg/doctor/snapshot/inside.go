package snapshot

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// InsideTarget is something that a pod of a namespace is to reach.
type InsideTarget struct {
	// URL is http://, https:// or tcp://HOST:PORT, without password, query and
	// fragment.
	URL string
	// Namespace is that of the consumer: names are resolved as there.
	Namespace string
	// Who uses it, for messages; Ref is where it is written.
	Who string
	Ref Ref
}

// InsideHop is the step at which a look from inside ended.
type InsideHop string

// The steps, in their order.
const (
	HopURL     InsideHop = "url"
	HopDNS     InsideHop = "dns"
	HopConnect InsideHop = "connect"
	HopTLS     InsideHop = "tls"
	HopHTTP    InsideHop = "http"
)

// InsideResult is what a pod inside the cluster found.
type InsideResult struct {
	InsideTarget
	// Hop is the step that failed; empty when all went well.
	Hop InsideHop
	// Error is the failure in the words of the system ("no such host").
	Error string
	// Status is HTTP's, 0 without an answer or for tcp://.
	Status int
	// Took is from the first look-up to the answer.
	Took time.Duration
	// Err says why nobody could look, Right what lacks for it.
	Err   error
	Right *Right
}

// Inside are the results of the look from inside; nil when nobody asked for it.
func (s *Snapshot) Inside() []*InsideResult {
	s.t.touch(Inside)
	return s.d.inside
}

// SetInside is for tests.
func (s *Snapshot) SetInside(r []*InsideResult) { s.d.inside = r }

// errNotProbed: a pod is made only for those who ask for it.
var errNotProbed = errors.New("not asked for: --probe looks from inside the cluster")

// lookInside asks a pod in the cluster, where somebody wants that.
func (s *Snapshot) lookInside(ctx context.Context, p Probes) {
	switch {
	case s.d.missing[Server] != nil:
	case p.Inside == nil:
		s.SetMissing(Inside, &Missing{Absent: true, Err: errNotProbed})
	default:
		s.d.inside = p.Inside(ctx, s)
	}
}

// InstallRight is a right that an installation needs, and whether it is there.
type InstallRight struct {
	Right
	Allowed bool
}

// InstallRights are those that an installation needs; nil when nobody asked.
func (s *Snapshot) InstallRights() []InstallRight {
	s.t.touch(InstallRights)
	return s.d.installRights
}

// SetInstallRights is for tests.
func (s *Snapshot) SetInstallRights(r []InstallRight) { s.d.installRights = r }

// errNotPre: the rights of an installation are asked for before one.
var errNotPre = errors.New("not asked for: --pre looks at what an installation needs")

// readInstallRights asks for each right of an installation.
func (s *Snapshot) readInstallRights(ctx context.Context, c *kube.Client, needs []Right) {
	if s.d.missing[Server] != nil {
		return
	}
	if len(needs) == 0 {
		s.SetMissing(InstallRights, &Missing{Absent: true, Err: errNotPre})
		return
	}
	l := &live{s: s, c: c}
	found := make([]InstallRight, len(needs))
	var g errgroup.Group
	g.SetLimit(parallelLists)
	for i, r := range needs {
		g.Go(func() error {
			found[i] = InstallRight{Right: r, Allowed: l.may(ctx, r)}
			return nil
		})
	}
	_ = g.Wait() // no function fails
	s.d.installRights = found
}
