package sharing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordv1 "k8s.io/api/coordination/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
)

// The clock of a membership. A member that could not renew its Lease for
// fenceAfter does nothing more, before the others, who see it unchanged for
// leaseDuration, take over what it had.
const (
	renewInterval = 5 * time.Second
	renewRetry    = time.Second
	renewTimeout  = 3 * time.Second
	fenceAfter    = 10 * time.Second
	leaseDuration = 15 * time.Second
	// maxSkew is how far the clock of another member may be off for its renewal
	// times to be believed where nothing better is known.
	maxSkew = time.Minute
	// warnInterval is how often the same trouble is logged.
	warnInterval = time.Minute
	// settleTime is how long after a change of members all of them know of it.
	settleTime = 5 * time.Second
)

// Names in Leases; other versions and people read them.
const (
	// LabelMember is the label of a set's Leases, with the set's name.
	LabelMember = "logstack.dev/member"
	// AnnotationURL is where the member answers.
	AnnotationURL = "logstack.dev/url"
	// AnnotationState is "leaving" while a member gives everything away.
	AnnotationState = "logstack.dev/state"
)

// State is what a member of the set is.
type State string

// The states of members.
const (
	// StateReady members share the pods.
	StateReady State = "ready"
	// StateLeaving members read nothing, and answer.
	StateLeaving State = "leaving"
	// StateAway members have ended or cannot be reached, and may come back with
	// what they hold.
	StateAway State = "away"
)

// Member is one replica of the set.
type Member struct {
	// Name is that of its pod and of its Lease.
	Name string
	// URL is where it answers, http or https.
	URL string
	// ID tells one process under the name from the next, "" when it has ended in
	// good order.
	ID    string
	State State
	Self  bool
	// LastSeen is when it was last known to work, by our clock.
	LastSeen time.Time
}

// Options describe a Group. What has no default is required.
type Options struct {
	// Set is the name of the replicas' set, Name that of this one, ID what tells
	// its process from those before and after it (the pod's uid), and URL where
	// the others reach it.
	Set, Name, ID, URL string
	Leases             Leases
	// HTTP asks other replicas.
	HTTP *http.Client
	// Logger may be nil.
	Logger *slog.Logger
	// Registerer receives the metrics. Nil means none are exported.
	Registerer prometheus.Registerer
	// Leaving joins as a member that is leaving, see Group.Leave.
	Leaving bool
}

func (o *Options) validate() error {
	var errs []error
	for _, x := range []struct {
		name string
		ok   bool
	}{{"Set", o.Set != ""}, {"Name", o.Name != ""}, {"ID", o.ID != ""}, {"URL", o.URL != ""}, {"Leases", o.Leases != nil}, {"HTTP", o.HTTP != nil}} {
		if !x.ok {
			errs = append(errs, fmt.Errorf("%s is missing", x.name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("replica options: %w", err)
	}
	return nil
}

// Group is the membership of this process in a set of replicas. It is a
// [podlogs.Share]. All methods are safe for concurrent use.
type Group struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics

	mu      sync.Mutex
	members map[string]*member // without this one
	// own is our Lease as it was last written, renewed when that was begun.
	own     *coordv1.Lease
	renewed time.Time
	state   State
	// deposed says that another process holds our Lease.
	deposed bool
	fenced  bool
	synced  bool
	known   chan struct{} // closed when synced is set
	began   time.Time
	// lastTerm is how our Lease was found.
	lastTerm  term
	takenOver bool
	ranking   ranking
	nodes     int
	// singletons is what there is one owner of in the set, by name.
	singletons map[string]Singleton
	changedAt  time.Time
	subs       map[chan struct{}]struct{}
	// problem is why our Lease cannot be had or renewed, warned when that was
	// logged last.
	problem string
	warned  time.Time
	// unreachable is since when members could not be asked.
	unreachable map[string]time.Time
	reachedID   map[string]string
}

// member is another replica.
type member struct {
	lease *coordv1.Lease
	// seen is when its Lease changed last, as far as we know.
	seen time.Time
	live bool
}

// term is how our Lease was when we came.
type term struct {
	found bool
	// renewed is when the term before ours was last renewed, ended when it ended,
	// or would have.
	renewed, ended time.Time
	// unbroken says that nobody can have noticed that we were away.
	unbroken bool
}

// New makes a Group that knows nothing yet; Run joins the set.
func New(o Options) (*Group, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Group{
		opts: o, log: o.Logger, metrics: newMetrics(), state: StateReady, fenced: true,
		members: make(map[string]*member), subs: make(map[chan struct{}]struct{}),
		unreachable: make(map[string]time.Time), reachedID: make(map[string]string),
		nodes: 1, known: make(chan struct{}), singletons: make(map[string]Singleton),
	}
	if o.Leaving {
		g.state = StateLeaving
	}
	if o.Registerer != nil {
		if err := g.metrics.register(o.Registerer, g); err != nil {
			return nil, fmt.Errorf("registering the metrics of replicas: %w", err)
		}
	}
	return g, nil
}

// Known is closed when the Leases of the set have been read once: from then on
// Members are all that there are.
func (g *Group) Known() <-chan struct{} { return g.known }

// Members returns all replicas of the set that are known, ordered by name, this
// one included. Those that left for good are not known any more.
func (g *Group) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := []Member{{
		Name: g.opts.Name, URL: g.opts.URL, ID: g.opts.ID, State: g.state, Self: true, LastSeen: g.renewed,
	}}
	if g.fenced && g.state == StateReady {
		list[0].State = StateAway
	}
	for name, m := range g.members {
		list = append(list, m.describe(name))
	}
	slices.SortFunc(list, byName)
	return list
}

func (m *member) describe(name string) Member {
	out := Member{Name: name, URL: m.lease.Annotations[AnnotationURL], ID: holder(m.lease), State: m.state(), LastSeen: m.seen}
	if m.live {
		out.LastSeen = time.Now()
	}
	return out
}

func (m *member) state() State {
	switch {
	case !m.live:
		return StateAway
	case m.lease.Annotations[AnnotationState] == string(StateLeaving):
		return StateLeaving
	}
	return StateReady
}

// Self is the name of this replica.
func (g *Group) Self() string { return g.opts.Name }

// Owns says whether this replica is the one that does something there is only one
// of in the set, such as reading events. Two may say so for a moment when
// replicas come or go; none does when all are fenced.
func (g *Group) Owns(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	first, _ := g.ranking.best(nameKey(name))
	return !g.fenced && first == g.opts.Name
}

// Owner implements podlogs.Share.
func (g *Group) Owner(p podlogs.PodRef) string {
	first, _ := g.rank(p)
	return first
}

func (g *Group) rank(p podlogs.PodRef) (first, second string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ranking.best(podKey(p.Node, p.UID, splits(g.nodes, len(g.ranking.names))))
}

// Fenced implements podlogs.Share.
func (g *Group) Fenced() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fenced
}

// Settled implements podlogs.Share.
func (g *Group) Settled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.fenced && time.Since(g.changedAt) >= settleTime
}

// Seen implements podlogs.Share.
func (g *Group) Seen(name string) (time.Time, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if name == g.opts.Name {
		return time.Now(), !g.fenced
	}
	m := g.members[name]
	switch {
	case m == nil:
		return time.Time{}, false
	case m.live:
		return time.Now(), true
	}
	return m.seen, false
}

// TakenOver implements podlogs.Share.
func (g *Group) TakenOver() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.takenOver
}

// SetNodes implements podlogs.Share.
func (g *Group) SetNodes(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	members := len(g.ranking.names)
	before := splits(g.nodes, members)
	g.nodes = max(n, 1)
	now := splits(g.nodes, members)
	if now != before {
		g.changedLocked()
	}
	return max(min(now, members), 1)
}

// Subscribe implements podlogs.Share.
func (g *Group) Subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.subs[ch] = struct{}{}
	return ch, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.subs, ch)
	}
}

// changedLocked notes that answers may be different from now on.
func (g *Group) changedLocked() {
	g.changedAt = time.Now()
	for ch := range g.subs {
		notify(ch)
	}
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// evaluate brings the ranking into line with what is known. The lock is held.
func (g *Group) evaluate() {
	now := time.Now()
	fenced := g.deposed || !g.synced || g.own == nil || now.Sub(g.renewed) >= fenceAfter
	names := make([]string, 0, len(g.members)+1)
	for name, m := range g.members {
		if m.state() == StateReady {
			names = append(names, name)
		}
	}
	if g.state == StateReady && !fenced {
		names = append(names, g.opts.Name)
	}
	slices.Sort(names)
	if fenced == g.fenced && slices.Equal(names, g.ranking.names) {
		return
	}
	switch {
	case fenced && !g.fenced:
		g.metrics.fences.Inc()
		g.log.Warn("the Lease of this replica could not be renewed; it stops reading until that works again", "lease", g.opts.Name)
	case g.fenced && !fenced:
		g.log.Info("this replica is a member of its set", "set", g.opts.Set, "members", names)
	default:
		g.log.Info("the members of the set have changed", "set", g.opts.Set, "members", names)
	}
	g.fenced = fenced
	g.ranking = newRanking(names)
	g.changedLocked()
}

// Leave gives up all pods and keeps answering; the others take the pods over. It
// returns when the Lease says so.
func (g *Group) Leave(ctx context.Context) error {
	g.mu.Lock()
	g.state = StateLeaving
	g.evaluate()
	g.changedLocked()
	g.mu.Unlock()
	if err := g.renew(ctx); err != nil {
		return fmt.Errorf("telling the other replicas that this one is leaving: %w", err)
	}
	return nil
}

// Close ends the membership after Run has returned: others take over at once what
// is left. forGood says that this replica will not come back and holds nothing
// that others would miss; otherwise it stays known as one that is away.
func (g *Group) Close(ctx context.Context, forGood bool) error {
	g.mu.Lock()
	own, deposed := g.own, g.deposed
	g.fenced, g.own = true, nil
	g.ranking = newRanking(slices.DeleteFunc(slices.Clone(g.ranking.names), func(n string) bool { return n == g.opts.Name }))
	g.mu.Unlock()
	if own == nil || deposed {
		return nil
	}
	if forGood {
		if err := g.opts.Leases.Delete(ctx, g.opts.Name); err != nil {
			return fmt.Errorf("deleting the Lease %s: %w", g.opts.Name, err)
		}
		return nil
	}
	l := g.filled(own, time.Now())
	none := ""
	l.Spec.HolderIdentity = &none
	if _, err := g.opts.Leases.Update(ctx, l); err != nil {
		return fmt.Errorf("releasing the Lease %s: %w; the others take over in %s", g.opts.Name, err, leaseDuration)
	}
	return nil
}

// Status is for the status page.
func (g *Group) Status() map[string]any {
	type entry struct {
		Name     string    `json:"name"`
		URL      string    `json:"url"`
		State    State     `json:"state"`
		Self     bool      `json:"self,omitempty"`
		LastSeen time.Time `json:"lastSeen"`
	}
	var list []entry
	for _, m := range g.Members() {
		list = append(list, entry{m.Name, m.URL, m.State, m.Self, m.LastSeen.UTC()})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return map[string]any{
		"set": g.opts.Set, "name": g.opts.Name, "fenced": g.fenced, "members": list,
		"nodeSplits": splits(g.nodes, len(g.ranking.names)), "problem": g.problem,
	}
}

// targetsOf returns the members that answer, without this one.
func (g *Group) targetsOf() (live []Member, away []Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(g.members)) {
		if m := g.members[name]; m.live {
			live = append(live, m.describe(name))
		} else {
			away = append(away, m.describe(name))
		}
	}
	return live, away
}

func holder(l *coordv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}
