package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Local is the store of this replica. All methods may be called concurrently;
// answers are sorted and belong to the caller.
type Local interface {
	Append(ctx context.Context, b *model.Batch) error
	Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error)
	SelectSplit(ctx context.Context, r model.SelectRequest, n int) ([]model.BatchIterator, error)
	Tail(ctx context.Context, r model.TailRequest) (model.BatchIterator, error)
	LabelNames(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]string, error)
	LabelValues(ctx context.Context, name string, r model.TimeRange, ms []*labels.Matcher) ([]string, error)
	Series(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]labels.Labels, error)
	Volume(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]model.StreamVolume, error)
	// Extents says when each stream has entries.
	Extents(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]model.StreamSpans, error)
	Flush(ctx context.Context) error
	Delete(ctx context.Context, req model.DeleteRequest) (id string, err error)
	DeleteRequests() []model.DeleteStatus
	CancelDelete(ctx context.Context, id string, force bool) error
	// Clock and ChangedSince are those of engine.Reviser. ChangesSince tells in
	// which spans of time something has changed, and the clock as it is now; ok is
	// false when everything may have.
	Clock() uint64
	ChangedSince(clock uint64, r model.TimeRange) bool
	ChangesSince(clock uint64) (now uint64, spans []model.Span, ok bool)
	// Marks returns the marks with that prefix.
	Marks(prefix string) map[string][]byte
}

// Options configure a Store. The zero value of each field means its default.
type Options struct {
	// Name is this replica's. Required.
	Name string
	// Transport sends requests to peers, and presents the credentials that they
	// ask for. Default: one of its own.
	Transport http.RoundTripper
	// Timeout is how long the beginning of an answer may take, Idle how long a peer
	// may be silent in the middle of one. Defaults 5 s and 15 s.
	Timeout, Idle time.Duration
	// Retention is how long entries are kept; 0 is without limit.
	Retention time.Duration
	// Span returns the timestamps of the first and last entry of the local store,
	// both 0 without any. Default: not known.
	Span func() (oldest, newest int64)
	// OnLeave stops what collects entries at this replica, before they are handed
	// over for good; it may be called again after a failure. Default: nothing.
	OnLeave func(ctx context.Context) error
	// Logger receives what is of interest to an operator. Default: discard.
	Logger *slog.Logger
	// Registerer takes the metrics. Default: none.
	Registerer prometheus.Registerer
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// dialTimeout bounds the making of a connection, TLS included: inside a cluster
// it takes milliseconds, or does not happen.
const dialTimeout = 2 * time.Second

func (o Options) withDefaults() Options {
	if o.Transport == nil {
		o.Transport = NewTransport()
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Idle <= 0 {
		o.Idle = 15 * time.Second
	}
	if o.Span == nil {
		o.Span = func() (int64, int64) { return 0, 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// NewTransport returns a transport for peers that ask for no credentials.
func NewTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: dialTimeout,
		DisableCompression:  true, // frames are compressed
		ReadBufferSize:      64 << 10,
		WriteBufferSize:     64 << 10,
	}
}

// Store reads from all replicas and writes to its own. It is safe for concurrent
// use. Close ends what it does for others.
type Store struct {
	local     Local
	directory Directory
	opts      Options
	log       *slog.Logger
	client    *http.Client
	metrics   *metrics
	instance  string // a random number of this process

	closing context.Context // ends with Close
	close   context.CancelFunc

	mu    sync.Mutex
	peers map[string]*peer
	span  spanCache
	leave leaving

	revisions revisions

	receiving sync.Mutex // held while entries of another replica are taken over
}

// knownPrefix begins the marks that remember peers.
const knownPrefix = "peers/known/"

// New puts a Store around a local one. Without a directory it knows no peers but
// those that are remembered.
func New(local Local, d Directory, o Options) *Store {
	o = o.withDefaults()
	s := &Store{
		local: local, directory: d, opts: o, log: o.Logger, client: &http.Client{Transport: o.Transport},
		metrics: newMetrics(o.Registerer), instance: fmt.Sprintf("%016x", rand.Uint64()), peers: map[string]*peer{},
	}
	s.closing, s.close = context.WithCancel(context.Background())
	for key, value := range local.Marks(knownPrefix) {
		p := s.newPeer(strings.TrimPrefix(key, knownPrefix))
		if err := json.Unmarshal(value, &p.known); err != nil {
			s.log.Warn("what was known of a replica cannot be read", "replica", p.name, "error", err)
		}
		p.saved = p.known
		if p.name != o.Name {
			s.peers[p.name] = p
		}
	}
	return s
}

func (s *Store) newPeer(name string) *peer {
	return &peer{name: name, timeout: s.opts.Timeout, idle: s.opts.Idle}
}

// others returns the peers that have to be asked, sorted by name: those of the
// directory and those that are remembered to hold entries.
func (s *Store) others() []*peer {
	var listed []Peer
	if s.directory != nil {
		listed = s.directory.Peers()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(listed) == 0 && len(s.peers) == 0 {
		return nil
	}
	known := make(map[string]Peer, len(listed))
	for _, l := range listed {
		if l.Name == s.opts.Name {
			continue
		}
		known[l.Name] = l
		if s.peers[l.Name] == nil {
			s.peers[l.Name] = s.newPeer(l.Name)
		}
	}
	var out []*peer
	for name, p := range s.peers {
		l, ok := known[name]
		if p.update(l, ok); p.forgotten(s.opts.Retention, s.opts.Now()) {
			delete(s.peers, name)
			continue
		}
		if !p.skip() {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *peer) int { return strings.Compare(a.name, b.name) })
	return out
}

// origins are the local store and the peers, sorted by name: the order of equal
// timestamps is the same at every replica.
func (s *Store) origins(peers []*peer) []*origin {
	out := []*origin{{name: s.opts.Name}}
	for _, p := range peers {
		out = append(out, &origin{name: p.name, peer: p})
	}
	slices.SortFunc(out, func(a, b *origin) int { return strings.Compare(a.name, b.name) })
	return out
}

// Close ends the tails of other replicas. Everything else ends with its request.
func (s *Store) Close() { s.close() }

// doubled counts rows that were left out because another replica has them too.
func (s *Store) doubled(n int) { s.metrics.doubled.Add(float64(n)) }

// Flush writes what this replica has in memory to blocks; others do so in their
// own time.
func (s *Store) Flush(ctx context.Context) error { return s.local.Flush(ctx) }

// Select reads the entries of all replicas. Those of one that does not answer are
// missing, which is noted with [model.Warn].
func (s *Store) Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error) {
	peers := s.others()
	if len(peers) == 0 {
		return s.local.Select(ctx, r)
	}
	if !r.Unordered {
		return s.mergeOrigins(ctx, s.origins(peers), r)
	}
	p, err := s.newPlan(ctx, peers, r)
	if err != nil {
		return nil, err
	}
	return p.chains(ctx, 1)[0], nil
}

// SelectSplit is Select for n readers, see engine.Splitter.
func (s *Store) SelectSplit(ctx context.Context, r model.SelectRequest, n int) ([]model.BatchIterator, error) {
	peers := s.others()
	if len(peers) == 0 {
		return s.local.SelectSplit(ctx, r, n)
	}
	p, err := s.newPlan(ctx, peers, r)
	if err != nil {
		return nil, err
	}
	return p.chains(ctx, n), nil
}

// spanCache keeps what Options.Span says for a moment.
type spanCache struct {
	at             time.Time
	oldest, newest int64
}

// spanFor is how long a span is told without looking again.
const spanFor = 2 * time.Second

// spanNow returns the timestamps of the first and last entry of the local store.
func (s *Store) spanNow() (oldest, newest int64) {
	now := s.opts.Now()
	s.mu.Lock()
	if c := s.span; !c.at.IsZero() && now.Sub(c.at) < spanFor {
		s.mu.Unlock()
		return c.oldest, c.newest
	}
	s.mu.Unlock()
	oldest, newest = s.opts.Span()
	s.mu.Lock()
	s.span = spanCache{now, oldest, newest}
	s.mu.Unlock()
	return oldest, newest
}
