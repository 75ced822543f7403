package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/logstack-dev/kubectl-logstack/pkg/kubevents"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
	"github.com/logstack-dev/kubectl-logstack/pkg/server"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// Time that each step of a shutdown may take. Kubernetes kills after 30 s by
// default, our manifest allows 60.
const (
	stopSources = 10 * time.Second
	stopTails   = 5 * time.Second
	stopHTTP    = 10 * time.Second
)

// settleTime is when the start is over, informers included.
const settleTime = 15 * time.Second

// deleteDelay is how long a delete request can be cancelled, as in Loki. Nobody
// sees the entries in the meantime.
const deleteDelay = 24 * time.Hour

// run starts the parts, waits for a signal or a failure, and stops them in the
// reverse order: sources, tails, HTTP, store. Nothing acknowledged is lost even
// without the stop: it is in the write-ahead log.
func run(cfg *config, stop <-chan os.Signal) error {
	log := cfg.logger
	klog.SetSlogLogger(log) // client-go's own messages
	plan := planMemory(cfg.memoryLimit, log)
	if err := plan.apply(); err != nil {
		return err
	}
	cluster, err := kubernetesConfig(cfg)
	if err != nil {
		return err
	}
	secure, err := cfg.secure.open(log.With("part", "http"))
	if err != nil {
		return err
	}
	registry := newRegistry()
	p := &parts{cfg: cfg, log: log, plan: plan, registry: registry, echoes: newEchoes()}
	p.secure = secure
	p.operator = newOperator(p)
	p.operator.requests.watch(cluster)
	p.server = p.newServer()
	p.mountPeers()
	p.mountOperator()

	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", cfg.listenAddress)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w; choose another --listen-address", cfg.listenAddress, err)
	}
	failed := make(chan error, 2)
	httpServer := p.server.HTTPServer()
	httpServer.Handler = p.echoes.watch(httpServer.Handler)
	go func() {
		if err := secure.serve(httpServer, listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving HTTP: %w", err)
		}
	}()
	defer httpServer.Close() //nolint:errcheck // after an orderly shutdown there is nothing left to close
	log.Info("collector starting", "version", version.Version, "address", listener.Addr().String(),
		"data", cfg.dataDir, "memory", plan.total)

	if err := p.openStore(); err != nil {
		return err
	}
	if err := writeAddress(cfg.addressFile, listener.Addr().String()); err != nil {
		p.closePeers()
		return errors.Join(err, p.db.Close())
	}
	stopCollecting, err := p.collect(cluster, failed)
	if err != nil {
		p.closePeers()
		return errors.Join(err, p.db.Close())
	}

	settled := time.AfterFunc(settleTime, func() {
		if err := releaseStartupPages(); err != nil {
			log.Debug("cannot give back the pages of the start", "error", err)
		}
	})
	defer settled.Stop()

	var cause error
	select {
	case sig := <-stop:
		log.Info("stopping", "signal", sig.String())
	case cause = <-failed:
		log.Error("stopping", "error", cause)
	}
	go func() { // a second signal does not wait
		<-stop
		log.Warn("stopping at once")
		os.Exit(exitFailed)
	}()
	stopCollecting()
	return errors.Join(cause, p.shutdown(httpServer))
}

// parts are what the process consists of.
type parts struct {
	cfg      *config
	log      *slog.Logger
	plan     memoryPlan
	registry *prometheus.Registry
	secure   *secure
	server   *server.Server
	echoes   *echoes
	peering  peering
	engine   *engine.Engine
	operator *operator

	mu      sync.Mutex // guards what follows, which /status reads
	db      *store.DB
	podlogs *podlogs.Collector
	events  *kubevents.Collector // nil if not wanted
	// ownsEvents says which replica collects events; nil means this one.
	ownsEvents func() bool
	replicas   *replicas // nil until it is known with whom pods are shared
}

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "logstack", Name: "build_info", Help: "Always 1; the labels tell the version.",
		ConstLabels: prometheus.Labels{"version": version.Version, "revision": version.Commit},
	})
	info.Set(1)
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return reg
}

func (p *parts) newServer() *server.Server {
	limits := p.cfg.limits
	limits.NoLevels = limits.NoLevels || p.cfg.noLevels
	// Any age is welcome, but what retention would hide at once is refused: an
	// answer of 204 must mean that the entry can be found.
	if r := p.cfg.retention; r > 0 && (limits.MaxAge == 0 || r < limits.MaxAge) {
		limits.MaxAge = r
	}
	limits.MaxDecoded = int(p.plan.pushBody)
	return server.New(server.Options{
		Limits:     limits,
		MaxBody:    p.plan.pushBody,
		PushMemory: p.plan.push,
		MaxQueries: p.plan.queries,
		// Of what is on its way to clients.
		AnswerMemory: p.plan.answers,
		Pprof:        p.cfg.pprof,
		Config:       p.cfg.effective,
		Services:     p.services,
		Status:       p.status,
		StatusCode:   statusCode,
		Retention:    p.cfg.retention,
		Logger:       p.log.With("part", "http"),
		LogLevel:     p.cfg.logLevel,
		Registry:     p.registry,
		// Who may ask.
		Credentials:       p.secure.credentials,
		CredentialsSecret: p.cfg.secure.authSecret,
	})
}

// openStore opens the database and makes the server ready, unless there are other
// replicas to know of first.
func (p *parts) openStore() error {
	p.server.SetNotReady("opening the data directory")
	o := store.DefaultOptions()
	o.Retention = p.cfg.retention
	o.BlockRange = 0 // follows from the retention
	o.MaxDiskBytes = p.cfg.maxDisk
	o.MemoryLimit = p.plan.store
	o.SyncInterval = p.cfg.syncInterval
	o.DeleteDelay = deleteDelay
	o.CompileFilter = server.CompileDeleteFilter
	o.Logger = p.log.With("part", "store")
	o.Registerer = p.registry
	start := time.Now()
	db, err := store.Open(p.cfg.dataDir, o)
	if err != nil {
		return fmt.Errorf("cannot open the data directory: %w", err)
	}
	p.mu.Lock()
	p.db = db
	p.mu.Unlock()
	p.log.Debug("store opened", "took", time.Since(start))
	if err := p.openPeers(db); err != nil {
		return errors.Join(err, db.Close())
	}
	p.engine = engine.New(p.peering.store, engine.Options{
		MaxQueryBytes: p.plan.query,
		CacheBytes:    p.plan.cache,
		Logger:        p.log.With("part", "query"),
		Registerer:    p.registry,
	})
	if p.cfg.replicas.set == "" {
		p.becomeReady()
	} else {
		p.server.SetNotReady("reading which other replicas there are")
	}
	return nil
}

// becomeReady makes the server answer from the opened store.
func (p *parts) becomeReady() {
	p.server.SetBackend(p.peering.store, p.engine)
	p.log.Info("ready")
}

// collect starts reading container logs, if there is a cluster. The returned
// function stops it and waits until all that was read is stored.
func (p *parts) collect(rc *rest.Config, failed chan<- error) (stop func(), err error) {
	if rc == nil {
		return func() {}, nil
	}
	replicas, err := p.newReplicas(rc)
	if err != nil {
		return nil, err
	}
	c, err := podlogs.New(podlogs.Options{
		RESTConfig: rc,
		Share:      replicas.share(),
		Sink:       p.echoes.sink(levelSink{db: p.peering.store, off: p.cfg.noLevels || p.cfg.limits.NoLevels, levels: lokiapi.NewLevels(p.cfg.limits.LevelFields)}),
		Marks:      p.db,
		Namespaces: p.cfg.namespaces,
		Lifecycle:  p.cfg.events.lifecycle,
		OnGap:      func(namespace string, r podlogs.GapReason) { p.operator.gaps.add(namespace, string(r)) },
		NodeFiles:  p.cfg.nodeFiles.options(),
		Logger:     p.log.With("part", "podlogs"),
		Registerer: p.registry,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot collect container logs: %w", err)
	}
	p.mu.Lock()
	p.podlogs = c
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	eventsDone, err := p.startEvents(ctx, rc, c)
	if err != nil {
		cancel()
		return nil, err
	}
	replicas.start(p, c)
	done := make(chan struct{})
	gapsDone := make(chan struct{})
	go func() {
		defer close(gapsDone)
		p.keepGaps(ctx)
	}()
	go func() {
		defer close(done)
		defer func() { <-eventsDone; <-gapsDone }()
		if err := c.Run(ctx); err != nil && ctx.Err() == nil {
			failed <- fmt.Errorf("collecting container logs: %w", err)
		}
	}()
	return func() {
		cancel()
		select {
		case <-done:
		case <-time.After(stopSources):
			p.log.Warn("container logs did not stop in time; they continue at their last position after the next start")
		}
		replicas.leave(p)
	}, nil
}

// levelSink adds detected_level, as the server does for pushes.
type levelSink struct {
	db     podlogs.Sink
	off    bool
	levels *lokiapi.Levels
}

func (s levelSink) Append(ctx context.Context, b *model.Batch) error {
	if !s.off {
		s.levels.Add(b)
	}
	return s.db.Append(ctx, b)
}

// shutdown ends what the server does and closes the store.
func (p *parts) shutdown(h *http.Server) error {
	drain, cancel := context.WithTimeout(context.Background(), stopTails)
	defer cancel()
	if err := p.server.Drain(drain); err != nil {
		p.log.Warn("stopping", "error", err)
	}
	p.closePeers()
	requests, cancelRequests := context.WithTimeout(context.Background(), stopHTTP)
	defer cancelRequests()
	if err := h.Shutdown(requests); err != nil {
		p.log.Warn("requests did not end in time", "error", err)
	}
	if err := p.db.Close(); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	p.log.Info("stopped")
	return nil
}

// kubernetesConfig says how to reach the cluster to collect from; nil without one.
func kubernetesConfig(cfg *config) (*rest.Config, error) {
	if cfg.noKubernetes {
		return nil, nil
	}
	var rc *rest.Config
	var err error
	if cfg.kubeconfig != "" {
		rc, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: cfg.kubeconfig},
			&clientcmd.ConfigOverrides{CurrentContext: cfg.kubeContext}).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("cannot use the kubeconfig %s: %w", cfg.kubeconfig, err)
		}
	} else if rc, err = rest.InClusterConfig(); err != nil {
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("not running inside a cluster: name one with --kubeconfig FILE, or take pushes only with --no-kubernetes")
		}
		return nil, fmt.Errorf("cannot use the pod's service account: %w", err)
	}
	rc.UserAgent = "logstack-collector/" + version.Version
	// Informers list once and watch; log streams have limits of their own.
	rc.QPS, rc.Burst = 50, 100
	return rc, nil
}

// writeAddress tells others the address that is served, in a file that appears whole.
func writeAddress(file, address string) error {
	if file == "" {
		return nil
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, []byte(address+"\n"), 0o644); err != nil {
		return fmt.Errorf("cannot write the address file: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("cannot write the address file: %w", err)
	}
	return nil
}
