// Package fakelease keeps Leases in memory as an API server does: with resource
// versions, conflicts, label selectors and watches. Each client can be cut off.
// It is for tests of replicas; sharing.Leases is what a [Client] implements.
package fakelease

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"

	coordv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// ErrBroken is what a client answers that is cut off.
var ErrBroken = errors.New("the API server cannot be reached")

// Store holds the Leases of one namespace.
type Store struct {
	mu      sync.Mutex
	version int
	leases  map[string]*coordv1.Lease
	watches map[*watching]struct{}
}

// watching is one open watch.
type watching struct {
	selector labels.Selector
	client   *Client
	*watch.RaceFreeFakeWatcher
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{leases: make(map[string]*coordv1.Lease), watches: make(map[*watching]struct{})}
}

// Client reads and writes the store.
func (s *Store) Client() *Client { return &Client{s: s} }

// Names lists the Leases.
func (s *Store) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for n := range maps.Keys(s.leases) {
		out = append(out, n)
	}
	return out
}

// Client is one connection to the store.
type Client struct {
	s      *Store
	broken bool
	hung   bool
}

// Break cuts the client off, or connects it again: every call fails, and its
// watches end.
func (c *Client) Break(broken bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.broken = broken
	if !broken {
		return
	}
	for w := range c.s.watches {
		if w.client == c {
			w.Stop()
			delete(c.s.watches, w)
		}
	}
}

// Hang makes the client's watches silent, as a connection that died unnoticed.
func (c *Client) Hang(hung bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.hung = hung
}

var resource = coordv1.Resource("leases")

func (c *Client) enter(ctx context.Context) (unlock func(), err error) {
	c.s.mu.Lock()
	if c.broken {
		err = ErrBroken
	} else {
		err = ctx.Err()
	}
	return c.s.mu.Unlock, err
}

// Get returns one Lease.
func (c *Client) Get(ctx context.Context, name string) (*coordv1.Lease, error) {
	unlock, err := c.enter(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	l := c.s.leases[name]
	if l == nil {
		return nil, apierrors.NewNotFound(resource, name)
	}
	return l.DeepCopy(), nil
}

// Create adds a Lease.
func (c *Client) Create(ctx context.Context, l *coordv1.Lease) (*coordv1.Lease, error) {
	unlock, err := c.enter(ctx)
	defer unlock()
	switch {
	case err != nil:
		return nil, err
	case c.s.leases[l.Name] != nil:
		return nil, apierrors.NewAlreadyExists(resource, l.Name)
	}
	return c.s.put(l, watch.Added), nil
}

// Update replaces a Lease that has not changed since it was read.
func (c *Client) Update(ctx context.Context, l *coordv1.Lease) (*coordv1.Lease, error) {
	unlock, err := c.enter(ctx)
	defer unlock()
	if err != nil {
		return nil, err
	}
	old := c.s.leases[l.Name]
	switch {
	case old == nil:
		return nil, apierrors.NewNotFound(resource, l.Name)
	case l.ResourceVersion != "" && l.ResourceVersion != old.ResourceVersion:
		return nil, apierrors.NewConflict(resource, l.Name, errors.New("the object has been modified"))
	}
	return c.s.put(l, watch.Modified), nil
}

// Delete removes a Lease.
func (c *Client) Delete(ctx context.Context, name string) error {
	unlock, err := c.enter(ctx)
	defer unlock()
	if err != nil {
		return err
	}
	l := c.s.leases[name]
	if l == nil {
		return apierrors.NewNotFound(resource, name)
	}
	delete(c.s.leases, name)
	c.s.tell(l, watch.Deleted)
	return nil
}

// put stores a copy and returns another. The lock is held.
func (s *Store) put(l *coordv1.Lease, kind watch.EventType) *coordv1.Lease {
	s.version++
	l = l.DeepCopy()
	l.ResourceVersion = strconv.Itoa(s.version)
	s.leases[l.Name] = l
	s.tell(l, kind)
	return l.DeepCopy()
}

// tell shows an event to the watches. The lock is held.
func (s *Store) tell(l *coordv1.Lease, kind watch.EventType) {
	for w := range s.watches {
		if w.IsStopped() {
			delete(s.watches, w)
		} else if !w.client.hung && w.selector.Matches(labels.Set(l.Labels)) {
			w.Action(kind, l.DeepCopy())
		}
	}
}

// ListWatch lists and watches the Leases that the label selector selects.
func (c *Client) ListWatch(selector string) cache.ListerWatcher {
	sel, err := labels.Parse(selector)
	if err != nil {
		panic(err) // a constant of the code under test
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
			unlock, err := c.enter(ctx)
			defer unlock()
			if err != nil {
				return nil, err
			}
			out := &coordv1.LeaseList{}
			out.ResourceVersion = strconv.Itoa(c.s.version)
			for _, l := range c.s.leases {
				if sel.Matches(labels.Set(l.Labels)) {
					out.Items = append(out.Items, *l.DeepCopy())
				}
			}
			return out, nil
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			unlock, err := c.enter(ctx)
			defer unlock()
			if err != nil {
				return nil, err
			}
			if o.ResourceVersion != strconv.Itoa(c.s.version) {
				return nil, apierrors.NewResourceExpired("list again")
			}
			w := &watching{selector: sel, client: c, RaceFreeFakeWatcher: watch.NewRaceFreeFake()}
			c.s.watches[w] = struct{}{}
			return w, nil
		},
	}
	return cache.ToListWatcherWithWatchListSemantics(lw, noWatchList{})
}

// noWatchList says that lists do not come through watches.
type noWatchList struct{}

func (noWatchList) IsWatchListSemanticsUnSupported() bool { return true }
