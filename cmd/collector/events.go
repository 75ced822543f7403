package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	commonmodel "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/kubevents"
	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
)

// podsFirst is how long events wait until all pods are known: the labels of
// their entries are those of the pods.
const podsFirst = time.Minute

// eventFlags say what is collected beside container logs.
type eventFlags struct {
	events    bool
	lifecycle bool
	ttl       commonmodel.Duration
}

func (f *eventFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.events, "events", true, "store Kubernetes events, as entries with job=\"kubernetes-events\"")
	fs.BoolVar(&f.lifecycle, "lifecycle", true, "store starts, ends and troubles of containers, as entries with job=\"kubernetes-lifecycle\"")
	f.ttl = commonmodel.Duration(time.Hour)
	fs.Var(&f.ttl, "event-ttl", "`TIME` for which the API server keeps events, its flag of that name; after a longer outage a gap is marked")
}

func (f *eventFlags) check() error {
	if f.ttl <= 0 {
		return fmt.Errorf("--event-ttl %s: it must be positive", f.ttl)
	}
	return nil
}

// startEvents starts collecting events until ctx ends; done is closed then.
func (p *parts) startEvents(ctx context.Context, rc *rest.Config, pods *podlogs.Collector) (done <-chan struct{}, err error) {
	closed := make(chan struct{})
	api, err := podlogs.NewAPI(rc)
	if err != nil {
		return nil, fmt.Errorf("cannot collect events: %w", err)
	}
	if !p.cfg.events.events {
		go func() {
			defer close(closed)
			p.reviewLeases(ctx, api)
		}()
		return closed, nil
	}
	c, err := kubevents.New(kubevents.Options{
		API: api, Sink: p.peering.store, Marks: p.db,
		Pods:       podFinder(pods),
		Excluded:   pods.NamespaceExcluded,
		Namespaces: p.cfg.namespaces,
		Owner:      p.ownsEvents,
		TakeOver:   p.replicas.takeOver(),
		TTL:        time.Duration(p.cfg.events.ttl),
		NoLevels:   p.cfg.noLevels || p.cfg.limits.NoLevels,
		OnGap:      func(namespace string) { p.operator.gaps.add(namespace, kubevents.GapUnwatched) },
		Logger:     p.log.With("part", "events"),
		Registerer: p.registry,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot collect events: %w", err)
	}
	p.mu.Lock()
	p.events = c
	p.mu.Unlock()
	go func() {
		defer close(closed)
		var reviews sync.WaitGroup
		reviews.Go(func() { p.reviewLeases(ctx, api) })
		awaitPods(ctx, pods)
		c.Run(ctx)
		reviews.Wait()
	}()
	return closed, nil
}

// awaitPods returns when all pods have been seen, or after a while.
func awaitPods(ctx context.Context, pods *podlogs.Collector) {
	ctx, cancel := context.WithTimeout(ctx, podsFirst)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !pods.Synced() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func podFinder(pods *podlogs.Collector) kubevents.PodFinder {
	states := map[podlogs.PodState]kubevents.PodState{
		podlogs.PodUnknown: kubevents.PodUnknown, podlogs.PodCollected: kubevents.PodKnown, podlogs.PodExcluded: kubevents.PodExcluded,
	}
	return func(namespace, name, uid, container string) (labels.Labels, kubevents.PodState) {
		ls, state := pods.FindPod(namespace, name, uid, container)
		return ls, states[state]
	}
}

// eventsStatus is the JSON of the event collector's state; fields are only ever added.
type eventsStatus struct {
	Owner      bool       `json:"owner"`
	Synced     bool       `json:"synced"`
	Contact    *time.Time `json:"contact,omitempty"`
	Remembered int        `json:"remembered"`
	Problems   []string   `json:"problems"`
}

func newEventsStatus(s kubevents.Status) eventsStatus {
	out := eventsStatus{Owner: s.Owner, Synced: s.Synced, Remembered: s.Remembered, Problems: s.Problems}
	if !s.Contact.IsZero() {
		at := s.Contact.UTC()
		out.Contact = &at
	}
	return out
}
