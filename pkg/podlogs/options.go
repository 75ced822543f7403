package podlogs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Sink stores what was read.
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

// Options configure a Collector. Zero values mean the defaults named here.
type Options struct {
	// RESTConfig describes the API server. Log streams get connections of
	// their own. Required.
	RESTConfig *rest.Config
	// API replaces what RESTConfig says for everything but logs. Nil means the
	// API server of RESTConfig.
	API API
	// Sink receives the lines, Marks returns the positions of earlier runs.
	// Both required, usually the same store.
	Sink  Sink
	Marks MarkReader
	// Namespaces to collect from; empty means all of the cluster.
	Namespaces []string
	// Share divides the pods among several replicas. Nil means that all are read
	// here. With it, Sink may be called by two goroutines at a time.
	Share Share

	// FollowCap bounds open follows of this process (4000), NodeFollowCap those
	// of one node (64): each takes one of the 128 inotify instances that the
	// kernel grants root by default. Containers above a cap are polled.
	FollowCap, NodeFollowCap int
	// OpensPerSecond and OpensBurst bound log requests of this process (20, 100);
	// NodeOpensPerSecond and NodeOpensBurst those to one node (10, 100): after a
	// restart all containers of a node are wanted before their files rotate.
	OpensPerSecond     float64
	OpensBurst         int
	NodeOpensPerSecond float64
	NodeOpensBurst     int
	// ProbesPerSecond bounds looks at the end of a log (100), which bring one line
	// and are what polled containers cost. They have a bucket of their own: the
	// idle must not keep the busy waiting.
	ProbesPerSecond float64

	// MaxLineBytes is where a longer line is cut (256 KiB).
	MaxLineBytes int
	// FlushInterval and FlushBytes bound how long and how much is gathered into
	// one batch (200 ms, 1 MiB). Up to four times FlushBytes may wait in memory.
	FlushInterval time.Duration
	FlushBytes    int

	// InsecureSkipTLSVerifyBackend asks the API server not to verify the
	// kubelet's serving certificate: the log may then come from an impostor.
	InsecureSkipTLSVerifyBackend bool

	// Lifecycle stores entries about starts, ends and troubles of containers,
	// see LifecycleJob.
	Lifecycle bool

	// OnGap is told of every gap entry that is stored. It is called by one
	// goroutine at a time and must not wait. Nil means nobody is told.
	OnGap func(namespace string, reason GapReason)

	// Logger receives what the operator should know, at a limited rate. Nil discards.
	Logger *slog.Logger
	// Registerer receives the metrics. Nil means none are exported.
	Registerer prometheus.Registerer

	// NodeFiles say whether and how log files of nodes are read. Zero is never.
	NodeFiles NodeFilesOptions

	// opener and fileSource replace HTTP in tests.
	opener     opener
	fileSource fileSource
}

func (o *Options) setDefaults() {
	setDefault(&o.FollowCap, 4000)
	setDefault(&o.NodeFollowCap, 64)
	setDefault(&o.OpensPerSecond, 20)
	setDefault(&o.OpensBurst, 100)
	setDefault(&o.NodeOpensPerSecond, 10)
	setDefault(&o.NodeOpensBurst, 100)
	setDefault(&o.ProbesPerSecond, 100)
	setDefault(&o.MaxLineBytes, 256<<10)
	setDefault(&o.NodeFiles.Mode, NodeFilesOff)
	setDefault(&o.FlushInterval, 200*time.Millisecond)
	setDefault(&o.FlushBytes, 1<<20)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// validate reports everything that is wrong at once.
func (o *Options) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(o.RESTConfig != nil || o.opener != nil, "RESTConfig is missing")
	need(o.Sink != nil, "Sink is missing")
	need(o.Marks != nil, "Marks is missing")
	need(o.MaxLineBytes >= 1024, "MaxLineBytes must be at least 1024")
	need(o.FlushBytes >= 4096, "FlushBytes must be at least 4096")
	need(o.FollowCap > 0 && o.NodeFollowCap > 0, "follow caps must be positive")
	need(o.OpensPerSecond > 0 && o.OpensBurst > 0 && o.NodeOpensPerSecond > 0 && o.NodeOpensBurst > 0 && o.ProbesPerSecond > 0, "open rates must be positive")
	need(o.FlushInterval > 0, "FlushInterval must be positive")
	o.NodeFiles.validate(need)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("pod log options: %w", err)
	}
	return nil
}
