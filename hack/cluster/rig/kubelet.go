package rig

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/util/flushwriter"
	"k8s.io/cri-client/pkg/logs"
	"k8s.io/klog/v2"
)

// kubeletTimeout is the read and write timeout of the kubelet's own server
// (pkg/kubelet/server/server.go): every follow ends after it.
const kubeletTimeout = 4 * time.Hour

// Kubelet is the log endpoint of one node. It knows pods by what [Pod] tells it,
// not by what the API server says, as the real one trusts its own status.
// Its methods may be called from several goroutines.
type Kubelet struct {
	node   string
	port   int
	good   tls.Certificate
	bad    tls.Certificate
	caller *x509.CertPool

	nodeLogs *nodeLogs // nil: /logs/ is disabled

	requests     atomic.Int64
	fileRequests atomic.Int64
	follows      atomic.Int64
	injected     atomic.Int64

	mu           sync.Mutex
	pods         map[string]*Pod      // newest pod of a namespace/name
	instances    map[string]*Instance // by container ID without scheme
	faults       faults
	writeTimeout time.Duration
	srv          *http.Server
	ln           *trackedListener
	done         chan struct{}
}

func newKubelet(node string, port int, good, bad tls.Certificate, caller *x509.CertPool) *Kubelet {
	return &Kubelet{
		node: node, port: port, good: good, bad: bad, caller: caller,
		pods:         map[string]*Pod{},
		instances:    map[string]*Instance{},
		writeTimeout: kubeletTimeout,
	}
}

// Start listens on the node's port. A kubelet that runs is left alone.
func (k *Kubelet) Start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.srv != nil {
		return nil
	}
	ln, err := net.Listen("tcp", loopback(k.port))
	if err != nil {
		return fmt.Errorf("kubelet %s: %w", k.node, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.containerLogs)
	mux.HandleFunc("GET /logs/", k.logs)
	k.ln = track(ln)
	k.srv = &http.Server{
		Handler:      mux,
		IdleTimeout:  90 * time.Second,
		ReadTimeout:  kubeletTimeout,
		WriteTimeout: k.writeTimeout,
		ErrorLog:     stdlog.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: k.certificate,
			ClientAuth:     tls.VerifyClientCertIfGiven,
			ClientCAs:      k.caller,
		},
	}
	k.done = make(chan struct{})
	go func(srv *http.Server, ln net.Listener, done chan struct{}) {
		defer close(done)
		_ = srv.ServeTLS(ln, "", "") // ends with ErrServerClosed in Stop
	}(k.srv, k.ln, k.done)
	return nil
}

// Stop closes the port and every connection, as a kubelet that dies does. The
// containers go on writing.
func (k *Kubelet) Stop() error {
	k.mu.Lock()
	srv, ln, done := k.srv, k.ln, k.done
	k.srv, k.ln, k.done = nil, nil, nil
	k.mu.Unlock()
	if srv == nil {
		return nil
	}
	err := srv.Close()
	ln.cut()
	<-done
	return err
}

// CloseConnections cuts every open connection and goes on serving. Clients of
// the API server see a clean end of their log stream. It returns the number of
// connections, which is smaller than the number of streams with HTTP/2.
func (k *Kubelet) CloseConnections() int {
	k.mu.Lock()
	ln := k.ln
	k.mu.Unlock()
	if ln == nil {
		return 0
	}
	return ln.cut()
}

// SetWriteTimeout replaces the 4 hours after which the kubelet cuts every
// answer. It restarts a running server.
func (k *Kubelet) SetWriteTimeout(d time.Duration) error {
	k.mu.Lock()
	k.writeTimeout = d
	running := k.srv != nil
	k.mu.Unlock()
	if !running {
		return nil
	}
	return errors.Join(k.Stop(), k.Start())
}

// Requests returns how many log requests have arrived.
func (k *Kubelet) Requests() int64 { return k.requests.Load() }

// OpenFollows returns how many log requests with follow=true are being served.
func (k *Kubelet) OpenFollows() int64 { return k.follows.Load() }

// Injected returns how many answers have ended with the text of an [InBand].
func (k *Kubelet) Injected() int64 { return k.injected.Load() }

func (k *Kubelet) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.faults.badCertificate {
		return &k.bad, nil
	}
	return &k.good, nil
}

func (k *Kubelet) adopt(p *Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pods[p.Namespace+"/"+p.Name] = p
}

func (k *Kubelet) forget(p *Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pods[p.Namespace+"/"+p.Name] == p {
		delete(k.pods, p.Namespace+"/"+p.Name)
	}
}

func (k *Kubelet) addInstance(in *Instance) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.instances[in.id] = in
}

func (k *Kubelet) dropInstance(in *Instance) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.instances, in.id)
}

func (k *Kubelet) instance(id string) *Instance {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.instances[id]
}

// containerLogs is getContainerLogs of pkg/kubelet/server/server.go (v1.36).
func (k *Kubelet) containerLogs(w http.ResponseWriter, req *http.Request) {
	k.requests.Add(1)
	if len(req.TLS.PeerCertificates) == 0 { // only the API server may, see start
		writeError(w, http.StatusUnauthorized, errors.New("Unauthorized")) //nolint:staticcheck // the kubelet's own word
		return
	}
	container := req.PathValue("container")
	opts, err := podLogOptions(req.URL.Query())
	if err != nil {
		writeError(w, http.StatusBadRequest, errors.New(`{"message": "Unable to decode query."}`))
		return
	}
	if status, err := validate(opts); err != nil {
		writeError(w, status, err)
		return
	}
	pod, verdict := k.admit(req.PathValue("namespace"), req.PathValue("pod"), container, opts.Follow)
	if verdict.err != nil {
		writeError(w, verdict.status, verdict.err)
		return
	}
	if opts.Follow {
		k.follows.Add(1)
		defer k.follows.Add(-1)
	}
	var out io.Writer = flushwriter.Wrap(w)
	if verdict.inBand != nil {
		out = &inBandWriter{w: out, left: verdict.inBand.AfterBytes, err: errors.New(verdict.inBand.Text)}
	}
	w.Header().Set("Transfer-Encoding", "chunked")
	ctx := klog.NewContext(req.Context(), logr.Discard())
	if err := k.stream(ctx, pod, container, opts, out); err != nil {
		// The header went out with the zero-byte write, unless the status had no
		// container to read: after that, the text lands in the body of a 200.
		if verdict.inBand != nil && err.Error() == verdict.inBand.Text {
			k.fired(verdict.inBand)
		}
		writeError(w, http.StatusBadRequest, err)
	}
}

// stream is GetKubeletContainerLogs and what it calls down to ReadLogs.
func (k *Kubelet) stream(ctx context.Context, pod *Pod, container string, opts *corev1.PodLogOptions, out io.Writer) error {
	status := pod.Status()
	id, err := containerToRead(pod.Name, &status, container, opts.Previous)
	if err != nil {
		return err
	}
	if _, err := out.Write(nil); err != nil {
		return err
	}
	rt := runtimeService{kubelet: k}
	resp, err := rt.ContainerStatus(ctx, id, false)
	if err != nil {
		return fmt.Errorf("unable to retrieve container logs for %s", containerIDPrefix+id)
	}
	now := time.Now()
	ropts := &logs.LogOptions{
		TailLines:  opts.TailLines,
		LimitBytes: opts.LimitBytes,
		Follow:     opts.Follow,
		Timestamp:  opts.Timestamps,
	}
	if opts.SinceSeconds != nil {
		ropts.Since = now.Add(-time.Duration(*opts.SinceSeconds) * time.Second)
	}
	if opts.SinceTime != nil && opts.SinceTime.After(ropts.Since) {
		ropts.Since = opts.SinceTime.Time
	}
	path := resp.GetStatus().GetLogPath()
	if opts.Follow && k.isBlind() {
		dir, alone, err := linkAlone(path)
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		path = alone
	}
	return logs.ReadLogs(ctx, path, id, ropts, rt, out, out)
}

// linkAlone gives a file a second name in a directory of its own, where no
// rotation is ever seen.
func linkAlone(path string) (dir, alone string, err error) {
	if dir, err = os.MkdirTemp(filepath.Dir(path), "alone"); err != nil {
		return "", "", err
	}
	alone = filepath.Join(dir, filepath.Base(path))
	if err = os.Link(path, alone); err != nil {
		os.RemoveAll(dir)
	}
	return dir, alone, err
}

// writeError is what go-restful's Response.WriteError does.
func writeError(w http.ResponseWriter, status int, err error) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, err.Error())
}

// podLogOptions decodes a query as the kubelet's generated conversion does
// (autoConvert_url_Values_To_v1_PodLogOptions), which keeps the nanoseconds of
// sinceTime.
func podLogOptions(q url.Values) (*corev1.PodLogOptions, error) {
	if tail := q.Get("tail"); tail == "all" {
		q.Del("tailLines")
	} else if tail != "" {
		q.Set("tailLines", tail)
	}
	o := &corev1.PodLogOptions{}
	var errs []error
	each := func(key string, convert func(*[]string) error) {
		if v, ok := q[key]; ok && len(v) > 0 {
			errs = append(errs, convert(&v))
		}
	}
	each("follow", func(v *[]string) error { return runtime.Convert_Slice_string_To_bool(v, &o.Follow, nil) })
	each("previous", func(v *[]string) error { return runtime.Convert_Slice_string_To_bool(v, &o.Previous, nil) })
	each("timestamps", func(v *[]string) error { return runtime.Convert_Slice_string_To_bool(v, &o.Timestamps, nil) })
	each("sinceSeconds", func(v *[]string) error {
		return runtime.Convert_Slice_string_To_Pointer_int64(v, &o.SinceSeconds, nil)
	})
	each("sinceTime", func(v *[]string) error {
		return metav1.Convert_Slice_string_To_Pointer_v1_Time(v, &o.SinceTime, nil)
	})
	each("tailLines", func(v *[]string) error {
		return runtime.Convert_Slice_string_To_Pointer_int64(v, &o.TailLines, nil)
	})
	each("limitBytes", func(v *[]string) error {
		return runtime.Convert_Slice_string_To_Pointer_int64(v, &o.LimitBytes, nil)
	})
	if s := q.Get("stream"); s != "" {
		o.Stream = &s
	}
	return o, errors.Join(errs...)
}

// validate applies ValidatePodLogOptions and the feature gate
// PodLogsQuerySplitStreams, which is off.
func validate(o *corev1.PodLogOptions) (int, error) {
	bad := o.TailLines != nil && *o.TailLines < 0 ||
		o.LimitBytes != nil && *o.LimitBytes < 1 ||
		o.SinceSeconds != nil && (*o.SinceSeconds < 1 || o.SinceTime != nil)
	if bad {
		return http.StatusUnprocessableEntity, errors.New(`{"message": "Invalid request."}`)
	}
	if o.Stream != nil && *o.Stream != corev1.LogStreamAll {
		return http.StatusBadRequest, fmt.Errorf("unable to return the given log stream: %q. Please enable PodLogsQuerySplitStreams feature gate in kubelet", *o.Stream)
	}
	return 0, nil
}
