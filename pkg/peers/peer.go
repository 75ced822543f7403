package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Paths and headers of the protocol.
const (
	// PathPrefix is where the protocol lives.
	PathPrefix = "/logstack/v1/peer/"

	headerReplica  = "Logstack-Replica"
	headerInstance = "Logstack-Instance"
	headerState    = "Logstack-State"
	headerSpan     = "Logstack-Span"
)

// States of a replica.
const (
	stateActive  = lokiapi.ReplicaActive
	stateLeaving = lokiapi.ReplicaLeaving
	stateLeft    = lokiapi.ReplicaLeft
)

// Peer is another replica, as a Directory knows it.
type Peer struct {
	// Name is the replica's own name, the same for everyone who talks of it.
	Name string
	// URL is where its HTTP server is, without a path.
	URL string
	// Live says that it is known to be running. One that is not is asked all the
	// same, with more patience between two tries: who knows may be wrong.
	Live bool
	// Unknown is set in an element that stands for replicas which are not known
	// yet, and says why they are not. It has a name, and neither URL nor Live.
	// While it is listed, answers warn, and what concerns all replicas is refused.
	Unknown string
}

// Directory knows the other replicas.
type Directory interface {
	// Peers returns the other members, those that are away for now included. It is
	// called for every query, from many goroutines, and does not wait for anything.
	Peers() []Peer
}

// Waiting after failures: it doubles from the first to the last.
const (
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
)

// peer is what a Store knows of another replica.
type peer struct {
	name string
	// timeout and idle are those of Options.
	timeout, idle time.Duration

	mu       sync.Mutex // guards what follows
	url      string
	live     bool
	listed   bool // by the directory, not only remembered
	self     bool // it turned out to be this process
	unknown  string
	failures int
	until    time.Time // it is left alone until then
	err      error     // of the last failure
	known    knowledge
	saved    knowledge // what the mark says
}

// knowledge is what outlives a restart.
type knowledge struct {
	// Oldest and Newest are timestamps of its first and last entry at Seen, when
	// it last answered; both 0 without entries.
	Oldest int64     `json:"oldest"`
	Newest int64     `json:"newest"`
	Seen   time.Time `json:"seen"`
	State  string    `json:"state"`
}

// errWaiting stands for the failure that a peer is left alone for.
var errWaiting = errors.New("it is left alone for a moment after a failure")

// errSelf says that a peer's address leads back to this process.
var errSelf = errors.New("its address leads to this very replica")

// skip says whether nothing has to be asked of the peer, because it is this
// process, or because its entries are with the others.
func (p *peer) skip() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.self || p.known.State == stateLeft
}

// update takes over what the directory says, or that it does not list the peer.
func (p *peer) update(l Peer, listed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if listed && (p.url != l.URL || l.Live && !p.live) {
		p.until, p.failures = time.Time{}, 0
	}
	if p.url != l.URL {
		p.self = false
	}
	p.listed, p.url, p.live, p.unknown = listed, l.URL, listed && l.Live, l.Unknown
}

// forgotten says whether nothing is known any more of a peer that the directory
// does not list, or nothing that would be visible.
func (p *peer) forgotten(retention time.Duration, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.listed && (p.known.Seen.IsZero() || retention > 0 && now.Sub(p.known.Seen) > retention)
}

// allow returns the address, or why the peer is not asked now.
func (p *peer) allow(now time.Time) (url string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.self:
		return "", errSelf
	case p.unknown != "":
		return "", errors.New(p.unknown)
	case p.url == "":
		return "", errors.New("its address is not known")
	case now.Before(p.until):
		if p.err != nil {
			return "", p.err
		}
		return "", errWaiting
	}
	return p.url, nil
}

// failed notes a failure and keeps others from trying for a while.
func (p *peer) failed(now time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	wait := firstBackoff << min(p.failures, 5)
	if !p.live {
		wait = lastBackoff
	}
	p.failures++
	p.until = now.Add(min(wait, lastBackoff))
}

// answered notes what the headers of an answer tell.
func (p *peer) answered(now time.Time, h http.Header, self string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.Get(headerInstance) == self {
		p.self = true
		return errSelf
	}
	p.failures, p.until, p.err = 0, time.Time{}, nil
	if p.known.State = h.Get(headerState); p.known.State == "" {
		p.known.State = stateActive
	}
	p.known.Seen = now
	var lo, hi int64
	if a, b, ok := strings.Cut(h.Get(headerSpan), " "); ok {
		lo, _ = strconv.ParseInt(a, 10, 64)
		hi, _ = strconv.ParseInt(b, 10, 64)
	}
	p.known.Oldest, p.known.Newest = lo, hi
	return nil
}

// missing says in one line what an answer for a range lacks because of the peer;
// "" is nothing.
func (p *peer) missing(r model.TimeRange, err error, retention time.Duration, now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.known
	if p.self || k.State == stateLeft {
		return ""
	}
	if retention > 0 && !k.Seen.IsZero() && !p.live && now.Sub(k.Seen) > retention {
		return "" // everything that it may have would be hidden by now
	}
	if p.unknown != "" {
		return fmt.Sprintf("it is not known which other replicas there are (%s): entries of those that were never met are missing here", p.unknown)
	}
	what := fmt.Sprintf("replica %s does not answer (%s): its entries are missing here", p.name, reason(err))
	if !p.live {
		what = fmt.Sprintf("replica %s is away (%s): its entries are missing here", p.name, reason(err))
	}
	switch {
	case k.Seen.IsZero():
		return what + "; what it holds is not known"
	case k.Oldest == 0 && k.Newest == 0:
		return what + "; it had none when it last answered, " + clock(k.Seen.UnixNano())
	}
	what += fmt.Sprintf("; it held logs from %s to %s", clock(k.Oldest), clock(k.Newest))
	if !r.Overlaps(k.Oldest, k.Newest) {
		what += ", none of this range, when it last answered, " + clock(k.Seen.UnixNano())
	}
	if !p.live {
		what += "; start it again (scale up), and hand its logs over before it goes (leave)"
	}
	return what
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05Z") }

// reason is the cause of a failure without the address, which the name tells.
func reason(err error) string {
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "its name cannot be resolved"
	case errors.As(err, &op) && op.Err != nil:
		return op.Op + ": " + op.Err.Error()
	case errors.Is(err, errTimeout):
		return errTimeout.Error()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the answer broke off"
	}
	return err.Error()
}

// errTimeout ends the wait for a peer.
var errTimeout = errors.New("no answer in time")

// statusError is an answer that is no frames.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string {
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "it refuses our token: all replicas need the same one"
	case http.StatusNotFound:
		return "it does not know this request: it may run an older version"
	}
	return fmt.Sprintf("status %d: %s", e.code, e.text)
}

// maxErrorText bounds the text of an error that is kept.
const maxErrorText = 1 << 10

// post sends a request to a peer and returns its answer, once the headers are
// here. Failures of the way, and of a server that is not ready, count against
// the peer.
func (s *Store) post(ctx context.Context, p *peer, what string, body any) (*http.Response, error) {
	url, err := p.allow(s.opts.Now())
	if err != nil {
		return nil, err
	}
	text, raw := body.(rawBody)
	if !raw {
		if text, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encoding a request to %s: %w", p.name, err)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+PathPrefix+what, bytes.NewReader(text))
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("building a request to %s: %w", p.name, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if raw {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	req.Header.Set(headerReplica, s.opts.Name)
	req.Header.Set(headerInstance, s.instance)
	req.Header.Set(headerState, s.leave.state())
	timer := time.AfterFunc(dialTimeout, func() { cancel(errTimeout) })
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { timer.Reset(p.timeout) },
	}))
	resp, err := s.client.Do(req)
	timer.Stop()
	if err == nil {
		err = s.accept(p, resp)
	} else if errors.Is(context.Cause(ctx), errTimeout) {
		err = errTimeout
	}
	if err != nil {
		s.fail(ctx, p, err)
		cancel(err)
		return nil, err
	}
	resp.Body = &cancelBody{resp.Body, cancel}
	return resp, nil
}

// accept reads the headers of an answer. It closes the body of one that is of no use.
func (s *Store) accept(p *peer, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		err := s.sender(p, resp.Header)
		if err == nil {
			err = p.answered(s.opts.Now(), resp.Header, s.instance)
		}
		if err != nil {
			resp.Body.Close() //nolint:errcheck // not read
		}
		return err
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
	resp.Body.Close() //nolint:errcheck // read as far as it matters
	return &statusError{code: resp.StatusCode, text: strings.TrimSpace(string(text))}
}

// sender checks that an answer is from the replica that was asked: addresses of
// pods are used again.
func (s *Store) sender(p *peer, h http.Header) error {
	if h.Get(headerInstance) == "" {
		return damaged("it does not come from a replica")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if name := h.Get(headerReplica); name != p.name && s.peers[name] != nil {
		return fmt.Errorf("replica %s answers at its address", name)
	}
	return nil
}

// fail notes a failure of a peer, unless it is ours: a reader that has left.
func (s *Store) fail(ctx context.Context, p *peer, err error) {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTimeout) || errors.Is(err, errSelf) {
		return
	}
	s.metrics.failures.WithLabelValues(p.name).Inc()
	s.log.Warn("a replica does not answer", "replica", p.name, "error", reason(err))
	p.failed(s.opts.Now(), err)
}

// cancelBody ends the request with the body.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *cancelBody) Close() error {
	b.cancel(context.Canceled)
	return b.ReadCloser.Close()
}

// warn notes on ctx what is missing because of a peer.
func (s *Store) warn(ctx context.Context, p *peer, r model.TimeRange, err error) {
	s.revisions.spoil() // what is computed of this answer must not be kept
	if text := p.missing(r, err, s.opts.Retention, s.opts.Now()); text != "" {
		s.metrics.partial.Inc()
		model.Warn(ctx, text)
	}
}
