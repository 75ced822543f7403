package nodefiles

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

const (
	dialTimeout   = 5 * time.Second
	headerTimeout = 10 * time.Second
	// bodyTimeout is how long a body may bring nothing.
	bodyTimeout = 30 * time.Second
	// openBodies is how many bodies may be open at a time, nodeBodies of one node.
	// Looks, which are over when they return, have as many places of their own:
	// who has a body open looks at the head of its file.
	openBodies, nodeBodies = 32, 4
	// maxInflated bounds what one compressed file may unpack to. The kubelet
	// rotates at 10 MiB by default; somebody else may have put a bomb there.
	maxInflated = 1 << 30
	// defaultPort is where kubelets listen.
	defaultPort = 10250
)

// errTooLarge ends a compressed file that unpacks to more than maxInflated.
var errTooLarge = errors.New("the compressed file is larger than 1 GiB unpacked")

// Options configure a [Client].
type Options struct {
	// Tokens to show to kubelets. Required.
	Tokens Tokens
	// CA are PEM certificates of the authorities that sign the certificates of
	// kubelets. Without any the system's are used, which is hardly ever right.
	CA []byte
	// InsecureSkipVerify accepts any certificate: whoever answers then learns
	// the token, and chooses what is stored as the container's log.
	InsecureSkipVerify bool
	// Port of the kubelets; 0 means 10250.
	Port int
	// PerSecond bounds requests in all, NodePerSecond those to one node; 0 means
	// 200 and 40. Bursts are twice as large.
	PerSecond, NodePerSecond float64
	UserAgent                string
	// OnRequest is called with the outcome of every request: "" or a kind. It
	// may be nil.
	OnRequest func(Kind)
}

// Client reads log files of containers from kubelets. It is safe for concurrent use.
type Client struct {
	o      Options
	http   *http.Client
	all    *rate.Limiter
	places places

	mu    sync.Mutex
	hosts map[string]*host
}

// host is what the client allows itself on one node. Nodes are few, so none is
// forgotten.
type host struct {
	requests *rate.Limiter
	places   places
}

// places bound what is open at a time. Who holds one of looks asks for no other,
// who holds one of bodies only for looks: nobody waits for himself.
type places struct{ bodies, looks *semaphore.Weighted }

func newPlaces(n int64) places {
	return places{bodies: semaphore.NewWeighted(n), looks: semaphore.NewWeighted(n)}
}

// of are the places of looks or of bodies.
func (p places) of(look bool) *semaphore.Weighted {
	if look {
		return p.looks
	}
	return p.bodies
}

// New makes a client.
func New(o Options) (*Client, error) {
	if o.Tokens == nil {
		return nil, errors.New("node files: no source of tokens")
	}
	if o.Port == 0 {
		o.Port = defaultPort
	}
	if o.PerSecond == 0 {
		o.PerSecond = 200
	}
	if o.NodePerSecond == 0 {
		o.NodePerSecond = 40
	}
	if o.OnRequest == nil {
		o.OnRequest = func(Kind) {}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.InsecureSkipVerify}
	if len(o.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("node files: the file of certificate authorities holds no PEM certificate")
		}
	}
	return &Client{
		o: o,
		http: &http.Client{
			// A redirect would take the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				// No proxy: the token is for kubelets.
				DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
				TLSClientConfig:       config,
				TLSHandshakeTimeout:   dialTimeout,
				ResponseHeaderTimeout: headerTimeout,
				ForceAttemptHTTP2:     true,
				DisableCompression:    true, // offsets are those of the file
				MaxIdleConnsPerHost:   1,
				IdleConnTimeout:       90 * time.Second,
				HTTP2: &http.HTTP2Config{
					MaxReceiveBufferPerStream: 256 << 10,
					SendPingTimeout:           30 * time.Second,
					PingTimeout:               15 * time.Second,
				},
			},
		},
		all:    rate.NewLimiter(rate.Limit(o.PerSecond), int(2*o.PerSecond)+1),
		places: newPlaces(openBodies),
		hosts:  make(map[string]*host),
	}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) host(name string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil {
		h = &host{
			requests: rate.NewLimiter(rate.Limit(c.o.NodePerSecond), int(2*c.o.NodePerSecond)+1),
			places:   newPlaces(nodeBodies),
		}
		c.hosts[name] = h
	}
	return h
}

// Probe asks whether the node serves log files to us. Only Host and Node of the
// directory are looked at.
func (c *Client) Probe(ctx context.Context, d Dir) error {
	b, err := c.get(ctx, d, "pods/", "", true)
	if err == nil {
		b.Close()
	}
	if KindOf(err) == KindNotFound {
		return &Error{Kind: KindFailed, err: fmt.Errorf("node %s has no /var/log/pods: its kubelet keeps the logs elsewhere (podLogsDir)", d.Node)}
	}
	return err
}

// List returns the log files of the container, in the order in which they were
// written.
func (c *Client) List(ctx context.Context, d Dir) ([]File, error) {
	path, err := d.path()
	if err != nil {
		return nil, &Error{Kind: KindFormat, err: err}
	}
	b, err := c.get(ctx, d, path, "", true)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return ParseListing(b)
}

// Head returns the first [HeadBytes] of a file, or all it has.
func (c *Client) Head(ctx context.Context, d Dir, f File) ([]byte, error) {
	b, err := c.open(ctx, d, f, "bytes=0-"+strconv.Itoa(HeadBytes-1), 0, true)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	head := make([]byte, HeadBytes)
	n, err := io.ReadFull(b, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

// Open reads a file from an offset of its uncompressed content on. Reading at
// or behind the end is no error: the body is empty then, see Body.Size.
func (c *Client) Open(ctx context.Context, d Dir, f File, offset int64) (*Body, error) {
	if f.Gzip || offset == 0 {
		return c.open(ctx, d, f, "", offset, false)
	}
	// One byte more: an answer without any (416) has no Last-Modified.
	return c.open(ctx, d, f, "bytes="+strconv.FormatInt(offset-1, 10)+"-", offset, false)
}

// open returns a body that begins at the offset.
func (c *Client) open(ctx context.Context, d Dir, f File, byteRange string, offset int64, look bool) (*Body, error) {
	dir, err := d.path()
	if err != nil {
		return nil, &Error{Kind: KindFormat, err: err}
	}
	if f.Gzip {
		byteRange = ""
	}
	b, err := c.get(ctx, d, dir+f.Name(), byteRange, look)
	if err != nil {
		return nil, err
	}
	skip := offset - b.from
	if f.Gzip {
		if err := b.inflate(); err != nil {
			b.Close()
			return nil, fmt.Errorf("file %s of node %s: %w", f.Name(), d.Node, err)
		}
	}
	if skip < 0 {
		b.Close()
		return nil, fmt.Errorf("file %s of node %s: the answer begins at byte %d, asked for was %d", f.Name(), d.Node, b.from, offset)
	}
	if _, err := io.CopyN(io.Discard, b, skip); err != nil && !errors.Is(err, io.EOF) {
		b.Close()
		return nil, fmt.Errorf("file %s of node %s: %w", f.Name(), d.Node, err)
	}
	return b, nil
}

// get makes one request, a second one if the token was refused. look says that
// the caller closes the body before anything else.
func (c *Client) get(ctx context.Context, d Dir, path, byteRange string, look bool) (*Body, error) {
	b, token, err := c.getOnce(ctx, d, path, byteRange, look)
	if KindOf(err) == KindDenied && token != "" {
		c.o.Tokens.Refused(token)
		if again, _ := c.o.Tokens.Token(ctx); again != "" && again != token {
			b, _, err = c.getOnce(ctx, d, path, byteRange, look)
		}
	}
	if ctx.Err() == nil || err == nil {
		c.o.OnRequest(KindOf(err))
	}
	return b, err
}

func (c *Client) getOnce(ctx context.Context, d Dir, path, byteRange string, look bool) (body *Body, token string, err error) {
	h := c.host(d.Host)
	ofNode, ofAll := h.places.of(look), c.places.of(look)
	if err := ofNode.Acquire(ctx, 1); err != nil {
		return nil, "", context.Cause(ctx)
	}
	if err := ofAll.Acquire(ctx, 1); err != nil {
		ofNode.Release(1)
		return nil, "", context.Cause(ctx)
	}
	release := sync.OnceFunc(func() { ofAll.Release(1); ofNode.Release(1) })
	defer func() {
		if body == nil {
			release()
		}
	}()
	if err := errors.Join(h.requests.Wait(ctx), c.all.Wait(ctx)); err != nil {
		return nil, "", err
	}
	if token, err = c.o.Tokens.Token(ctx); err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	url := "https://" + net.JoinHostPort(d.Host, strconv.Itoa(c.o.Port)) + "/logs/" + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		cancel()
		return nil, "", &Error{Kind: KindFormat, err: err}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", c.o.UserAgent)
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	resp, err := c.http.Do(req) //nolint:bodyclose // Body has it
	if err != nil {
		defer cancel()
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
		return nil, "", transportError(d, err)
	}
	body = &Body{src: resp.Body, cancel: cancel, release: release, Size: resp.ContentLength}
	if err := body.accept(resp, d); err != nil {
		body.Close()
		return nil, token, err
	}
	body.watchdog = time.AfterFunc(bodyTimeout, cancel)
	return body, token, nil
}

// Body is the content of a file from some offset on.
type Body struct {
	// Size is the size of the file on the node, -1 if it is not known; for a
	// compressed file that of the compressed one.
	Size int64
	// Rested says that the file was last written to more than two seconds before
	// the request, by the node's own clock.
	Rested bool
	// Modified is when that was, in whole seconds; zero if it is not known.
	Modified time.Time

	from     int64
	src      io.Reader
	zip      *gzip.Reader
	left     int64 // of maxInflated
	watchdog *time.Timer
	cancel   context.CancelFunc
	release  func()
	once     sync.Once
	closers  []io.Closer
}

// accept looks at status and headers.
func (b *Body) accept(resp *http.Response, d Dir) error {
	b.closers = append(b.closers, resp.Body)
	b.Rested, b.Modified = rested(resp.Header)
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusPartialContent:
		from, size, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return fmt.Errorf("node %s: %w", d.Node, err)
		}
		b.from, b.Size = from, size
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		_, size, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return fmt.Errorf("node %s: %w", d.Node, err)
		}
		b.from, b.Size, b.src = size, size, http.NoBody
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	return statusError(d, resp.StatusCode, string(bytes.TrimSpace(text)))
}

// rested compares two headers of one clock. Both have whole seconds.
func rested(h http.Header) (bool, time.Time) {
	now, err1 := http.ParseTime(h.Get("Date"))
	modified, err2 := http.ParseTime(h.Get("Last-Modified"))
	if err1 != nil || err2 != nil {
		return false, time.Time{}
	}
	return now.Sub(modified) > 2*time.Second, modified
}

// parseContentRange reads "bytes 5-9/10" and "bytes */10".
func parseContentRange(s string) (from, size int64, err error) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, total, ok2 := strings.Cut(rest, "/")
	size, err = strconv.ParseInt(total, 10, 64)
	if !ok || !ok2 || err != nil || size < 0 {
		return 0, 0, fmt.Errorf("header Content-Range: %q", s)
	}
	if span == "*" {
		return 0, size, nil
	}
	begin, _, _ := strings.Cut(span, "-")
	from, err = strconv.ParseInt(begin, 10, 64)
	if err != nil || from < 0 || from > size {
		return 0, 0, fmt.Errorf("header Content-Range: %q", s)
	}
	return from, size, nil
}

// inflate unpacks what follows.
func (b *Body) inflate() error {
	z, err := gzip.NewReader(b.src)
	if errors.Is(err, io.EOF) {
		b.src = http.NoBody // the compression has only begun
		return nil
	}
	if err != nil {
		return err
	}
	b.zip, b.src, b.left = z, z, maxInflated
	b.closers = append(b.closers, z)
	return nil
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if b.zip != nil {
		if b.left <= 0 {
			return 0, errTooLarge
		}
		p = p[:min(int64(len(p)), b.left)]
	}
	n, err := b.src.Read(p)
	if b.zip != nil {
		b.left -= int64(n)
	}
	if b.watchdog != nil && n > 0 {
		b.watchdog.Reset(bodyTimeout)
	}
	return n, err
}

// Close ends the request.
func (b *Body) Close() error {
	b.once.Do(func() {
		if b.watchdog != nil {
			b.watchdog.Stop()
		}
		b.cancel()
		for _, c := range b.closers {
			_ = c.Close() // nothing was written
		}
		b.release()
	})
	return nil
}

// NewBody is a body that does not come from a node: for tests of those who read
// bodies.
func NewBody(src io.ReadCloser, size int64, rested bool) *Body {
	return &Body{Size: size, Rested: rested, src: src, closers: []io.Closer{src}, cancel: func() {}, release: func() {}}
}
