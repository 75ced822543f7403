package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/semaphore"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Store is what the handlers need of the log database. All methods may be
// called concurrently. Answers are sorted and belong to the caller.
type Store interface {
	// Append returns when the batch is durable. It keeps nothing of it.
	Append(ctx context.Context, b *model.Batch) error
	// Select reads entries; the caller closes the iterator.
	Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error)
	// Tail subscribes to entries that become durable from now on.
	Tail(ctx context.Context, r model.TailRequest) (model.BatchIterator, error)
	LabelNames(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]string, error)
	LabelValues(ctx context.Context, name string, r model.TimeRange, ms []*labels.Matcher) ([]string, error)
	Series(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]labels.Labels, error)
	Volume(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]model.StreamVolume, error)
	// Flush writes what is only in memory and the WAL to blocks.
	Flush(ctx context.Context) error
}

// Engine evaluates LogQL.
type Engine interface {
	Range(ctx context.Context, p engine.Params) (*engine.Result, error)
	Instant(ctx context.Context, p engine.Params) (*engine.Result, error)
	Tail(ctx context.Context, t engine.Tailer, query string) (engine.LiveTail, error)
}

// Options configure a Server. The zero value of each field means its default.
type Options struct {
	// Limits bound what a push may hold and say what is added to it. Its OTLP
	// must be valid.
	Limits lokiapi.Limits
	// MaxBody is the largest body of a push as it is sent, in bytes. Default 16 MiB.
	MaxBody int64
	// PushMemory bounds the decompressed bodies that are held at once, in
	// bytes; further pushes wait. Default 64 MiB, at least Limits.MaxDecoded.
	PushMemory int64
	// MaxQueries is the number of queries, and lookups of labels, series and
	// volumes, that run at once; further ones wait.
	// Default: twice the number of processors.
	MaxQueries int
	// AnswerMemory bounds the results of queries that are being written to
	// clients, in bytes; a query whose result does not fit waits, and keeps its
	// turn. Default 32 MiB.
	AnswerMemory int64
	// MaxTails is the number of tails at once. Default 50.
	MaxTails int
	// Heartbeat is the longest silence on a tail. Default 10 s.
	Heartbeat time.Duration
	// WriteTimeout bounds one write to a client that does not read. Default 30 s.
	WriteTimeout time.Duration
	// Credentials are asked for by every route but /ready and /metrics; nil asks
	// for none. CredentialsSecret, when set, is the name of the Secret that they
	// come from: answers 401 tell it, so that who may read it finds it.
	Credentials       *Credentials
	CredentialsSecret string
	// Pprof serves /debug/pprof.
	Pprof bool
	// Config answers /config, as YAML. Default: nothing.
	Config func() []byte
	// Services answers /services and the status. Default: nothing.
	Services func() []Service
	// Status adds fields to what /logstack/v1/status answers. Default: nothing.
	Status func() map[string]any
	// StatusCode maps an error of the store to an HTTP status, 0 for those it
	// does not know.
	StatusCode func(error) int
	// Retention is what clients are told about how long entries are kept; 0 is
	// without limit.
	Retention time.Duration
	Logger    *slog.Logger
	// LogLevel is what /log_level shows and sets. Default: a level of its own,
	// which no logger follows.
	LogLevel *slog.LevelVar
	// Registry is where metrics are registered and gathered from. Default: a new one.
	Registry *prometheus.Registry
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Service is one part of the process and its state, for /services.
type Service struct {
	Name  string `json:"name"`
	State string `json:"state"` // "Running", "Failed: …"
}

func (o Options) withDefaults() Options {
	if o.MaxBody <= 0 {
		o.MaxBody = 16 << 20
	}
	if o.PushMemory <= 0 {
		o.PushMemory = 64 << 20
	}
	if o.MaxQueries <= 0 {
		o.MaxQueries = 2 * runtime.GOMAXPROCS(0)
	}
	if o.AnswerMemory <= 0 {
		o.AnswerMemory = 32 << 20
	}
	if o.MaxTails <= 0 {
		o.MaxTails = 50
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 10 * time.Second
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 30 * time.Second
	}
	if o.Config == nil {
		o.Config = func() []byte { return nil }
	}
	if o.Services == nil {
		o.Services = func() []Service { return nil }
	}
	if o.Status == nil {
		o.Status = func() map[string]any { return nil }
	}
	if o.StatusCode == nil {
		o.StatusCode = func(error) int { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.LogLevel == nil {
		o.LogLevel = &slog.LevelVar{}
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// backend is what SetBackend installs, in one piece.
type backend struct {
	store  Store
	engine Engine
}

// Server is the HTTP side of the collector. It is safe for concurrent use.
type Server struct {
	opts    Options
	log     *slog.Logger
	handler http.Handler
	mux     *http.ServeMux
	metrics *metrics
	decoder *lokiapi.Decoder
	queries *semaphore.Weighted // one per running query
	waiting atomic.Int64        // queries that wait for their turn
	answers *semaphore.Weighted // bytes of results that are being written
	bodies  *semaphore.Weighted // bytes of bodies as sent
	decoded *semaphore.Weighted // bytes of bodies decompressed
	buffers bufferPool
	zstd    *zstd.Decoder
	flusher flusher
	tails   atomic.Int64

	backend atomic.Pointer[backend]
	reason  atomic.Pointer[string] // why there is no backend
	drain   context.Context        // ends when Drain is called
	stop    context.CancelFunc
	// tailMu makes sure that no tail begins once Drain waits for them.
	tailMu  sync.Mutex
	tailing sync.WaitGroup
}

// New makes a Server that is not ready yet.
func New(o Options) *Server {
	o = o.withDefaults()
	s := &Server{
		opts:    o,
		log:     o.Logger,
		metrics: newMetrics(o.Registry),
		decoder: lokiapi.NewDecoder(o.Limits, o.Now),
		queries: semaphore.NewWeighted(int64(o.MaxQueries)),
		answers: semaphore.NewWeighted(o.AnswerMemory),
		bodies:  semaphore.NewWeighted(2 * o.MaxBody),
		flusher: flusher{turn: semaphore.NewWeighted(1)},
	}
	s.zstd = newZstd(s.decoder.Limits().MaxDecoded)
	s.opts.PushMemory = max(o.PushMemory, int64(s.decoder.Limits().MaxDecoded))
	s.decoded = semaphore.NewWeighted(s.opts.PushMemory)
	s.drain, s.stop = context.WithCancel(context.Background())
	s.SetNotReady("starting")
	s.handler = s.guard(s.routes())
	return s
}

// SetBackend makes the server ready.
func (s *Server) SetBackend(store Store, e Engine) {
	s.backend.Store(&backend{store: store, engine: e})
}

// SetNotReady takes the backend away and says why in one line.
func (s *Server) SetNotReady(reason string) {
	s.reason.Store(&reason)
	s.backend.Store(nil)
}

// Drain ends all tails, turns /ready to 503 and waits until the tails are
// gone or ctx ends. Other requests are still answered.
func (s *Server) Drain(ctx context.Context) error {
	s.tailMu.Lock()
	s.stop()
	s.tailMu.Unlock()
	done := make(chan struct{})
	go func() {
		s.tailing.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tails did not end in time: %w", ctx.Err())
	}
}

// Mount serves a pattern of http.ServeMux by a handler that is not ours, behind
// the same credentials as everything else. It may be called at any time.
func (s *Server) Mount(pattern string, h http.Handler) {
	_, route, ok := strings.Cut(pattern, " ")
	if !ok {
		route = pattern
	}
	s.mux.Handle(pattern, s.wrap(route, h))
}

// Handler is the root handler.
func (s *Server) Handler() http.Handler { return s.handler }

// Limits of what clients may make the HTTP server hold or wait for.
const (
	maxHeaderBytes    = 1 << 20 // queries come in the URL
	maxFormBytes      = 1 << 20
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	bodyTimeout       = time.Minute
)

// HTTPServer returns a server with bounded headers and timeouts, ready to
// serve. It has no write timeout: exports and tails last, and each of their
// writes has one.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// handlerFunc is a handler that needs the backend and leaves its errors to be
// written by the caller.
type handlerFunc func(w http.ResponseWriter, r *http.Request, b *backend) error

// routes lists every path that is served.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	s.mux = mux
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1024), gzhttp.CompressionLevel(gzip.BestSpeed))
	if err != nil {
		panic(err) // the options are constants
	}
	// A read can be asked for by GET or as a form by POST.
	read := func(path string, h handlerFunc) {
		wrapped := compress(s.wrap(path, s.withForm(s.withBackend(h))))
		mux.Handle("GET "+path, wrapped)
		mux.Handle("POST "+path, wrapped)
	}
	plain := func(pattern, route string, h http.HandlerFunc) { mux.Handle(pattern, s.wrap(route, h)) }

	read(v1+"/query", s.query)
	read(v1+"/query_range", s.queryRange)
	s.exploreRoutes(read)

	for _, path := range []string{v1 + "/push", "/api/prom/push"} {
		plain("POST "+path, path, s.withBackend(s.push))
	}
	plain("POST "+otlpPath, otlpPath, s.otlpLogs)
	// Streams are flushed piece by piece and must not be compressed or timed.
	plain("GET "+v1+"/tail", v1+"/tail", s.withForm(s.withBackend(s.tailWebSocket)))
	plain("GET "+lokiapi.TailPath, lokiapi.TailPath, s.withForm(s.withBackend(s.tailNDJSON)))
	mux.Handle("GET "+lokiapi.ExportPath, compress(s.wrap(lokiapi.ExportPath, s.withForm(s.withBackend(s.export)))))

	s.adminRoutes(plain)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{}))
	if s.opts.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// errNotReady is answered as 503.
type errNotReady struct{ reason string }

func (e *errNotReady) Error() string { return "not ready: " + e.reason }

// withBackend turns a handlerFunc into a handler and writes its error.
func (s *Server) withBackend(h handlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b := s.backend.Load()
		if b == nil {
			s.writeError(w, r, &errNotReady{*s.reason.Load()})
			return
		}
		if err := h(w, r, b); err != nil {
			s.writeError(w, r, err)
		}
	}
}

// withForm reads the parameters from the URL and from a form in the body.
func (s *Server) withForm(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		control := http.NewResponseController(w)
		if r.Method == http.MethodPost {
			_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		err := r.ParseForm()
		if r.Method == http.MethodPost && err == nil {
			_ = control.SetReadDeadline(time.Time{})
		}
		if err != nil {
			if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
				s.writeError(w, r, statusErrorf(http.StatusRequestEntityTooLarge, "the form is larger than %d bytes", tooLarge.Limit))
				return
			}
			s.writeError(w, r, badRequestf("bad parameters: %v", err))
			return
		}
		h(w, r)
	}
}
