package kubevents

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	// ownerInterval is how often the owner is asked for.
	ownerInterval = time.Second
	// accessInterval is how often missing permissions are asked for in the long
	// run; at first sooner: those just granted take effect in a moment.
	accessInterval = time.Minute
)

// Collector stores events. See the package comment. Its methods are safe for
// concurrent use.
type Collector struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	scopes  []*scope

	appending sync.Mutex // around Sink.Append

	mu       sync.Mutex
	problems []string
	given    map[string][]byte // marks of a former owner, not adopted yet
}

// Status is a picture of the collector at one moment.
type Status struct {
	// Owner says that this process collects events, and not another replica.
	Owner bool
	// Synced says that every scope has been listed or resumed once.
	Synced bool
	// Contact is the moment up to which all scopes are known to be stored, zero
	// if that is not known.
	Contact time.Time
	// Remembered is the number of events that exist and are stored.
	Remembered int
	// Problems say what keeps events from being collected, each with its remedy.
	Problems []string
}

// New checks the options and prepares a collector; Run starts it.
func New(o Options) (*Collector, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Collector{opts: o, log: o.Logger, metrics: newMetrics()}
	namespaces := slices.Compact(slices.Sorted(slices.Values(o.Namespaces)))
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	for _, ns := range namespaces {
		c.scopes = append(c.scopes, &scope{
			c: c, namespace: ns, seen: make(map[string]seen),
			lw: cache.ToListerWatcherWithContext(o.API.ListWatch("events", ns)),
		})
	}
	if o.Registerer != nil {
		if err := c.metrics.register(o.Registerer, c); err != nil {
			return nil, fmt.Errorf("registering the metrics of the event collector: %w", err)
		}
	}
	return c, nil
}

// Run collects until ctx ends. What was seen by then is stored, or seen again
// after the next start. It is to be called once.
func (c *Collector) Run(ctx context.Context) {
	c.load(c.opts.Marks.Marks(MarkPrefix), c.scopes)
	var wg sync.WaitGroup
	for _, s := range c.scopes {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Wait()
}

// load takes over the marks of some scopes from an earlier run or another replica.
func (c *Collector) load(marks map[string][]byte, scopes []*scope) {
	byNamespace := make(map[string]*scope)
	for _, s := range scopes {
		byNamespace[s.namespace] = s
	}
	for key, value := range marks {
		var err error
		if ns, ok := strings.CutPrefix(key, atPrefix); ok {
			var p place
			if p, err = decodePlace(value); err == nil && byNamespace[ns] != nil {
				byNamespace[ns].adoptPlace(p)
			}
		} else if uid, ok := strings.CutPrefix(key, seenPrefix); ok {
			var e seen
			if e, err = decodeSeen(value); err == nil {
				s := byNamespace[""]
				if s == nil {
					s = byNamespace[e.namespace]
				}
				if s != nil {
					s.adoptSeen(uid, e)
				}
			}
		}
		if err != nil {
			c.log.Error("a stored mark of the event collector cannot be read; events may be stored again", "mark", key, "err", err)
		}
	}
}

// Handover returns the marks that let another replica go on where this one is.
// While this process is the owner, they are those of what is stored by now.
func (c *Collector) Handover() []model.Mark {
	var marks []model.Mark
	for _, s := range c.scopes {
		marks = append(marks, s.marks()...)
	}
	return marks
}

// Adopt takes the marks of a former owner, which this process goes on from when it
// becomes the owner. What is newer here stays.
func (c *Collector) Adopt(marks []model.Mark) {
	values := valuesOf(marks)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = values
}

func valuesOf(marks []model.Mark) map[string][]byte {
	values := make(map[string][]byte, len(marks))
	for _, m := range marks {
		if strings.HasPrefix(m.Key, MarkPrefix) && m.Value != nil {
			values[m.Key] = m.Value
		}
	}
	return values
}

// takeOver goes on from what other replicas have stored, which it makes durable.
// A scope whose former owner cannot be asked lists, and stores once more what the
// API server still has.
func (c *Collector) takeOver(ctx context.Context, s *scope) error {
	c.mu.Lock()
	given := c.given
	c.mu.Unlock()
	if c.opts.TakeOver == nil && len(given) == 0 {
		return nil
	}
	only := []*scope{s}
	before := s.marks()
	c.load(given, only)
	if c.opts.TakeOver != nil {
		for _, marks := range c.opts.TakeOver(ctx) {
			c.load(valuesOf(marks), only)
		}
	}
	after := s.marks()
	known := make(map[string]string, len(before))
	for _, m := range before {
		known[m.Key] = string(m.Value)
	}
	b := &model.Batch{Marks: slices.DeleteFunc(after, func(m model.Mark) bool { return known[m.Key] == string(m.Value) })}
	if len(b.Marks) == 0 {
		return nil
	}
	if err := c.append(ctx, b); err != nil {
		return fmt.Errorf("storing how far events were stored by the replica that collected them before: %w", err)
	}
	return nil
}

func (c *Collector) append(ctx context.Context, b *model.Batch) error {
	c.appending.Lock()
	defer c.appending.Unlock()
	return c.opts.Sink.Append(ctx, b)
}

// Status returns the present state.
func (c *Collector) Status() Status {
	c.mu.Lock()
	st := Status{Owner: c.opts.Owner(), Synced: true, Problems: slices.Clone(c.problems)}
	c.mu.Unlock()
	oldest := int64(0)
	for i, s := range c.scopes {
		s.mu.Lock()
		st.Synced = st.Synced && s.synced
		st.Remembered += len(s.seen)
		if i == 0 || s.place.contact < oldest {
			oldest = s.place.contact
		}
		s.mu.Unlock()
	}
	if oldest != 0 {
		st.Contact = time.Unix(0, oldest)
	}
	return st
}

// setProblems replaces the problems of one scope.
func (c *Collector) setProblems(s *scope, problems []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range problems {
		if !slices.Contains(s.problems, p) {
			c.log.Warn(p)
		}
	}
	s.problems = problems
	c.problems = nil
	for _, s := range c.scopes {
		c.problems = append(c.problems, s.problems...)
	}
}
