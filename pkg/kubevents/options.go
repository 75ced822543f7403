package kubevents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	authv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// API is what the collector asks of Kubernetes. It is safe for concurrent use;
// errors are those of client-go.
type API interface {
	// ListWatch lists and watches "events", in one namespace or, with "", in all.
	ListWatch(resource, namespace string) cache.ListerWatcher
	// Review asks whether we may do something.
	Review(ctx context.Context, r *authv1.SelfSubjectAccessReview) (*authv1.SelfSubjectAccessReview, error)
}

// Sink stores entries.
type Sink interface {
	// Append stores the batch: all of it is durable when it returns nil, and
	// none of it when it returns an error. It keeps no part of the batch. It is
	// called by one goroutine at a time.
	Append(ctx context.Context, b *model.Batch) error
}

// MarkReader knows the marks that were stored with earlier batches.
type MarkReader interface {
	// Marks returns the marks whose keys begin with the prefix. It is called
	// once, before the first Append.
	Marks(prefix string) map[string][]byte
}

// PodState says what is known about a pod.
type PodState int

// The states of a pod that an event is about.
const (
	// PodUnknown pods have not been seen, or are gone for a long time.
	PodUnknown PodState = iota
	// PodKnown pods have labels.
	PodKnown
	// PodExcluded pods opted out of collection, and their events with them.
	PodExcluded
)

// PodFinder returns the labels of the log stream of a container of a pod, or
// without container and instance if container is "". uid is "" when the event
// does not tell. It is called from several goroutines and must not wait.
type PodFinder func(namespace, name, uid, container string) (labels.Labels, PodState)

// Options configure a Collector. Zero values mean the defaults named here.
type Options struct {
	// API, Sink and Marks are required; Sink and Marks are usually the same store.
	API   API
	Sink  Sink
	Marks MarkReader
	// Pods finds pods. Nil means that none is known.
	Pods PodFinder
	// Excluded says whether a namespace opted out. Nil means none did.
	Excluded func(namespace string) bool
	// Namespaces to collect from; empty means all of the cluster.
	Namespaces []string
	// Owner says whether this process is the one of several replicas that
	// collects events. It is asked once a second. Nil means it is.
	Owner func() bool
	// TakeOver returns what each of the other replicas has stored, as its Handover
	// gives it. It is asked each time that this process becomes the owner, and bounds its own
	// time; what it cannot reach it leaves out. Nil means nobody is asked.
	TakeOver func(ctx context.Context) [][]model.Mark
	// TTL is how long the API server keeps an event after its last occurrence
	// (1 h, the default of its flag --event-ttl).
	TTL time.Duration
	// FlushInterval is how long occurrences are gathered into one batch (1 s).
	FlushInterval time.Duration
	// MaxSeen bounds the events of a scope that are remembered one by one (50000).
	MaxSeen int
	// OnGap is told of every gap entry that is stored; namespace is "" for all.
	// It must not wait. Nil means nobody is told.
	OnGap func(namespace string)
	// NoLevels leaves out detected_level.
	NoLevels bool
	// Logger receives what the operator should know. Nil discards.
	Logger *slog.Logger
	// Registerer receives the metrics. Nil means none are exported.
	Registerer prometheus.Registerer
}

func (o *Options) setDefaults() {
	if o.Pods == nil {
		o.Pods = func(string, string, string, string) (labels.Labels, PodState) {
			return labels.EmptyLabels(), PodUnknown
		}
	}
	if o.Excluded == nil {
		o.Excluded = func(string) bool { return false }
	}
	if o.Owner == nil {
		o.Owner = func() bool { return true }
	}
	if o.TTL == 0 {
		o.TTL = time.Hour
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = time.Second
	}
	if o.MaxSeen == 0 {
		o.MaxSeen = 50_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func (o *Options) validate() error {
	var errs []error
	for _, c := range []struct {
		ok   bool
		what string
	}{
		{o.API != nil, "API is missing"},
		{o.Sink != nil, "Sink is missing"},
		{o.Marks != nil, "Marks is missing"},
		{o.TTL > 0, "TTL must be positive"},
		{o.FlushInterval > 0, "FlushInterval must be positive"},
		{o.MaxSeen >= 100, "MaxSeen must be at least 100"},
	} {
		if !c.ok {
			errs = append(errs, errors.New(c.what))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("options of the event collector: %w", err)
	}
	return nil
}
