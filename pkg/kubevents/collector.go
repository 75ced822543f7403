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
	c.load(c.opts.Marks.Marks(MarkPrefix))
	var wg sync.WaitGroup
	for _, s := range c.scopes {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Wait()
}

// load takes over the marks of an earlier run.
func (c *Collector) load(marks map[string][]byte) {
	byNamespace := make(map[string]*scope)
	for _, s := range c.scopes {
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
// It is to be called when this process has stopped being the owner.
func (c *Collector) Handover() []model.Mark {
	var marks []model.Mark
	for _, s := range c.scopes {
		s.mu.Lock()
		marks = append(marks, s.placeMark())
		for uid, e := range s.seen {
			marks = append(marks, model.Mark{Key: seenPrefix + uid, Value: e.encode()})
		}
		s.mu.Unlock()
	}
	return marks
}

// Adopt makes the marks of a former owner durable and goes on from them. What
// is newer here stays. It is to be called before this process becomes the owner.
func (c *Collector) Adopt(ctx context.Context, marks []model.Mark) error {
	values := make(map[string][]byte, len(marks))
	for _, m := range marks {
		if strings.HasPrefix(m.Key, MarkPrefix) && m.Value != nil {
			values[m.Key] = m.Value
		}
	}
	c.load(values)
	return c.append(ctx, &model.Batch{Marks: c.Handover()})
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
