package podlogs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/fakelease"
)

// SimGroup is the membership of one simulated replica, a sharing.Group.
type SimGroup interface {
	Share
	Run(ctx context.Context)
	Leave(ctx context.Context) error
	Close(ctx context.Context, forGood bool) error
	Handler(c *Collector) http.Handler
}

// NewSimGroup makes it. The tests of package podlogs_test set it: this package
// lies below the one that has it.
var NewSimGroup func(name, id string, leases *fakelease.Client, h *http.Client, log *slog.Logger) (SimGroup, error)

// fleet is a set of replicas that read one cluster.
type fleet struct {
	*testing.T
	k        *cluster
	leases   *fakelease.Store
	replicas []*replica

	mu       sync.Mutex
	handlers map[string]http.Handler // by name
	cut      map[[2]string]bool      // from, to
}

// replica is a replica's name with its disk, and what runs of it.
type replica struct {
	f      *fleet
	name   string
	mem    *memory
	starts int
	client *fakelease.Client
	// The rest is nil while it does not run.
	c     *collecting
	group SimGroup
	stop  context.CancelFunc
	done  chan struct{}
}

// share runs f in simulated time with n replicas, which do not run yet.
func share(t *testing.T, n int, f func(x *fleet)) {
	t.Helper()
	if NewSimGroup == nil {
		t.Skip("no membership to simulate with")
	}
	synctest.Test(t, func(t *testing.T) {
		x := &fleet{T: t, k: newCluster(t), leases: fakelease.NewStore(), handlers: make(map[string]http.Handler), cut: make(map[[2]string]bool)}
		for i := range n {
			x.replicas = append(x.replicas, &replica{f: x, name: fmt.Sprintf("logstack-%d", i), mem: newMemory(), client: x.leases.Client()})
		}
		f(x)
		for _, r := range x.replicas {
			r.end()
		}
		if x.k.openStream != 0 {
			x.Errorf("%d streams left open", x.k.openStream)
		}
	})
}

// transport carries a replica's requests to the others.
type transport struct {
	f    *fleet
	from string
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	to := r.URL.Host
	t.f.mu.Lock()
	h, cut := t.f.handlers[to], t.f.cut[[2]string{t.from, to}] || t.f.handlers[t.from] == nil
	t.f.mu.Unlock()
	if cut {
		return nil, errors.New("i/o timeout")
	}
	if h == nil {
		return nil, errors.New("connection refused")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	in := httptest.NewRequest(r.Method, r.URL.Path, bytes.NewReader(body)).WithContext(r.Context())
	h.ServeHTTP(w, in)
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	if t.f.cut[[2]string{t.from, to}] || t.f.handlers[to] == nil {
		return nil, errors.New("connection reset") // the answer got lost
	}
	return w.Result(), nil
}

// start runs the replica.
func (r *replica) start() {
	if r.group != nil {
		return
	}
	r.starts++
	traceOp("%s starts", r.name)
	log := slog.New(slog.DiscardHandler)
	if *traceFlag {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("replica", r.name)
	}
	var err error
	h := &http.Client{Transport: transport{r.f, r.name}}
	if r.group, err = NewSimGroup(r.name, fmt.Sprintf("%s/%d", r.name, r.starts), r.client, h, log); err != nil {
		r.f.Fatal(err)
	}
	r.c = startCollector(r.f.T, r.f.k, r.mem, func(o *Options) {
		o.Share, o.Logger = r.group, log
	})
	r.f.mu.Lock()
	r.f.handlers[r.name] = r.group.Handler(r.c.Collector)
	r.f.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.stop, r.done = cancel, done
	group := r.group
	go func() {
		defer close(done)
		group.Run(ctx)
	}()
}

// end stops the replica in good order, as a rollout does.
func (r *replica) end() {
	if r.group == nil {
		return
	}
	traceOp("%s ends", r.name)
	r.c.stop()
	r.stop()
	<-r.done
	_ = r.group.Close(context.Background(), false)
	r.down()
}

func (r *replica) down() {
	r.f.mu.Lock()
	delete(r.f.handlers, r.name)
	r.f.mu.Unlock()
	r.c, r.group = nil, nil
}

// crash is kill -9: nothing more is stored or sent.
func (r *replica) crash() {
	if r.group == nil {
		return
	}
	traceOp("%s crashes", r.name)
	r.f.mu.Lock()
	delete(r.f.handlers, r.name)
	r.f.mu.Unlock()
	r.c.kill()
	r.stop()
	<-r.done
	r.down()
}

// isolate cuts the replica off from the API server's Leases, or connects it again.
func (r *replica) isolate(broken bool) {
	traceOp("%s isolated: %v", r.name, broken)
	r.client.Break(broken)
}

// disconnect cuts all requests between two replicas, or lets them through again.
func (x *fleet) disconnect(a, b *replica, cut bool) {
	traceOp("%s and %s disconnected: %v", a.name, b.name, cut)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cut[[2]string{a.name, b.name}], x.cut[[2]string{b.name, a.name}] = cut, cut
}

// merged is what a query over all replicas finds of a stream: each line and gap
// as often as the replica has it that holds most of it, by time.
func (x *fleet) merged(instance string) []model.Entry {
	type key struct {
		ts         int64
		line, meta string
	}
	most := make(map[key]int)
	entries := make(map[key]model.Entry)
	for _, r := range x.replicas {
		count := make(map[key]int)
		r.mem.mu.Lock()
		for _, e := range r.mem.streams[instance] {
			k := key{e.Timestamp, e.Line, e.Metadata.String()}
			count[k]++
			entries[k] = e
		}
		r.mem.mu.Unlock()
		for k, n := range count {
			most[k] = max(most[k], n)
		}
	}
	var out []model.Entry
	for k, n := range most {
		for range n {
			out = append(out, entries[k])
		}
	}
	slices.SortStableFunc(out, func(a, b model.Entry) int {
		return cmp.Or(cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Line, b.Line))
	})
	return out
}

// stored counts the lines that all replicas hold together.
func (x *fleet) stored() (n int) {
	for _, r := range x.replicas {
		r.mem.mu.Lock()
		for _, s := range r.mem.streams {
			n += len(s)
		}
		r.mem.mu.Unlock()
	}
	return n
}

// judge compares what a query finds of a container with what it wrote: every line
// as often as it was written, except where a gap says that it may be missing, and
// except whole files before the first that was ever read. It returns the gaps.
func (x *fleet) judge(p *fakePod, container string) (gaps []model.Entry) {
	x.Helper()
	type key struct {
		ts   int64
		line string
	}
	name := "default/" + p.pod.Name + ":" + container
	found := make(map[key]int)
	for _, e := range x.merged(name) {
		if e.Metadata.Get(MetaGap) != "" {
			gaps = append(gaps, e)
			continue
		}
		found[key{e.Timestamp, e.Line}]++
	}
	seen := false
	for _, run := range p.containers[container].runs {
		for _, file := range run.files {
			for i, l := range file.lines {
				k := key{l.ts.UnixNano(), l.text}
				switch {
				case found[k] > 0:
					found[k]--
					if !seen && i > 0 && !x.covered(gaps, file.lines[0].ts.UnixNano()) {
						x.Errorf("%s: the first line found, %q, is not the first of its file; gaps %v", name, l.text, describeGaps(gaps))
						return gaps
					}
					seen = true
				case seen && !x.covered(gaps, k.ts):
					x.Errorf("%s: line %q of %s is missing; gaps %v", name, l.text, l.ts.UTC().Format(time.TimeOnly), describeGaps(gaps))
					return gaps
				}
			}
		}
	}
	for k, n := range found {
		if n > 0 {
			x.Errorf("%s: line %q of %s is there %d times too often", name, k.line, time.Unix(0, k.ts).UTC().Format(time.TimeOnly), n)
		}
	}
	return gaps
}

// covered says whether a gap tells that a line of that time may be missing.
func (x *fleet) covered(gaps []model.Entry, ts int64) bool {
	for _, g := range gaps {
		from, to := int64(0), int64(1<<62)
		if t, err := time.Parse(time.RFC3339Nano, g.Metadata.Get(MetaGapFrom)); err == nil {
			from = t.UnixNano() - 1000 // two runs may have written in one moment
		}
		if t, err := time.Parse(time.RFC3339Nano, g.Metadata.Get(MetaGapTo)); err == nil {
			to = t.UnixNano()
		}
		if from <= ts && ts <= to {
			return true
		}
	}
	return false
}

func describeGaps(gaps []model.Entry) string {
	var b strings.Builder
	for _, g := range gaps {
		fmt.Fprintf(&b, "[%s %s..%s] ", g.Metadata.Get(MetaGap), g.Metadata.Get(MetaGapFrom), g.Metadata.Get(MetaGapTo))
	}
	return b.String()
}

// owners counts the pods of each replica that runs, and wants each pod to have one.
func (x *fleet) owners() map[string]int {
	x.Helper()
	count := make(map[string]int)
	total := 0
	for _, r := range x.replicas {
		if r.c != nil {
			s := r.c.Status().Shared
			count[r.name] = s.Owned
			total += s.Owned
		}
	}
	alive := 0
	for _, p := range x.k.pods {
		if !p.gone {
			alive++
		}
	}
	if total != alive {
		x.Errorf("%d pods are read, want %d: %v", total, alive, count)
	}
	return count
}

// addPods creates pods on several nodes.
func (x *fleet) addPods(n int, containers ...string) (list []*fakePod) {
	for i := range n {
		list = append(list, x.k.addPodOn(fmt.Sprintf("node-%d", i%4), fmt.Sprintf("pod%d", i), containers...))
	}
	return list
}
