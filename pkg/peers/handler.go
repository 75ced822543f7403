package peers

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	// heartbeatEvery is the longest silence in an answer.
	heartbeatEvery = 3 * time.Second
	// writeTimeout bounds the sending of one frame. Whoever merges may leave an
	// answer alone for as long as another one takes.
	writeTimeout = 2 * time.Minute
	// maxRequest bounds the body of a question.
	maxRequest = 4 << 20
)

// Handler answers the other replicas, below [PathPrefix], and what concerns this
// one as a member: [lokiapi.LeavePath] and [lokiapi.MembersPath]. It asks no other replica on
// behalf of one. It checks no credentials: that is done by whoever serves it.
func (s *Store) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(what string, h func(w *answer, r *http.Request) error) {
		mux.HandleFunc("POST "+PathPrefix+what, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, h) })
	}
	handle("ping", func(*answer, *http.Request) error { return nil })
	handle("select", s.serveSelect)
	handle("tail", s.serveTail)
	handle("changes", s.serveChanges)
	handle("delete", s.serveDelete)
	handle("deletes", s.serveDeletes)
	handle("cancel", s.serveCancel)
	handle("ship", s.serveShip)
	handle("forget", s.serveForget)
	handle("names", s.serveList)
	handle("values", s.serveList)
	handle("series", s.serveList)
	handle("volume", s.serveList)
	handle("extents", s.serveList)
	mux.HandleFunc("GET "+lokiapi.LeavePath, s.serveLeave)
	mux.HandleFunc("POST "+lokiapi.LeavePath, s.serveLeave)
	mux.HandleFunc("GET "+lokiapi.MembersPath, s.serveMembers)
	mux.HandleFunc("DELETE "+lokiapi.MembersPath, s.serveMembers)
	return mux
}

// answer writes the frames of one answer, with heartbeats in between.
type answer struct {
	http.ResponseWriter
	what    string
	control *http.ResponseController

	mu     sync.Mutex
	frames frameWriter
	wrote  bool   // since the last heartbeat was due
	buf    []byte // of the last frame
	more   []byte // of the last frame, if there is more than was asked for
}

// send writes a frame and flushes it.
func (a *answer) send(kind byte, payload []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sendLocked(kind, payload)
}

func (a *answer) sendLocked(kind byte, payload []byte) error {
	a.wrote = true
	// Not every writer has deadlines (tests); the real one does.
	_ = a.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := a.frames.write(kind, payload); err != nil {
		return err
	}
	return a.control.Flush()
}

// beat sends heartbeats until the context ends.
func (a *answer) beat(ctx context.Context) {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		a.mu.Lock()
		if !a.wrote {
			_ = a.sendLocked(frameHeartbeat, nil) // the next frame meets the same error
		}
		a.wrote = false
		a.mu.Unlock()
	}
}

// answer sends headers, what h sends, and the end or an error.
func (s *Store) answer(w http.ResponseWriter, r *http.Request, h func(*answer, *http.Request) error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxShipment)
	s.heard(r.Header)
	oldest, newest := s.spanNow()
	head := w.Header()
	head.Set("Content-Type", "application/octet-stream")
	head.Set(headerReplica, s.opts.Name)
	head.Set(headerInstance, s.instance)
	head.Set(headerState, s.leave.state())
	head.Set(headerSpan, fmt.Sprintf("%d %d", oldest, newest))
	a := &answer{ResponseWriter: w, what: r.URL.Path[len(PathPrefix):], control: http.NewResponseController(w)}
	a.frames.w = w
	defer func() { _ = a.control.SetWriteDeadline(time.Time{}) }()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		a.beat(ctx)
	}()
	err := h(a, r.WithContext(ctx))
	cancel()
	<-beating
	switch {
	case err != nil && r.Context().Err() == nil:
		s.log.Warn("a question of another replica cannot be answered", "what", a.what, "error", err)
		_ = a.send(frameError, []byte(err.Error())) // an error means that it is gone
	case a.more != nil:
		_ = a.send(frameMore, a.more)
	case err == nil:
		_ = a.send(frameEnd, a.buf)
	}
}

// decodeRequest reads a question.
func decodeRequest(r *http.Request, into any) error {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	return nil
}

// serveSelect answers with rows.
func (s *Store) serveSelect(a *answer, r *http.Request) error {
	var w wireSelect
	if err := decodeRequest(r, &w); err != nil {
		return err
	}
	req, err := w.request()
	if err != nil {
		return err
	}
	it, err := s.local.Select(r.Context(), req)
	if err != nil {
		return err
	}
	defer it.Close() //nolint:errcheck // of files that have been read
	filter := newRowFilter(&req)
	if w.Limit > 0 && !req.Unordered {
		return a.page(r.Context(), it, filter, w.Limit)
	}
	if err := a.rows(r.Context(), it, filter); err != nil {
		return err
	}
	a.buf = appendStats(nil, it.Stats())
	return nil
}

// page sends the rows of an ordered iterator up to a limit, and to the end of the
// timestamp that it falls into.
func (a *answer) page(ctx context.Context, it model.BatchIterator, filter *rowFilter, limit int) error {
	var enc batchEncoder
	last := int64(0)
	for sent := 0; ; {
		b, err := it.Next(ctx)
		if isEnd(err) {
			a.buf = appendStats(nil, it.Stats())
			return nil
		}
		if err != nil {
			return err
		}
		if b = filter.pass(b); b.Len() == 0 {
			continue
		}
		end := b.Len()
		if sent+end > limit {
			for end = max(limit-sent, 0); end < b.Len() && (sent+end == 0 || b.Timestamps[end] == last || end > 0 && b.Timestamps[end] == b.Timestamps[end-1]); end++ {
			}
		}
		if end > 0 {
			last = b.Timestamps[end-1]
		}
		if err := a.batch(&enc, b, end); err != nil {
			return err
		}
		if sent += end; end < b.Len() {
			a.more = binary.AppendVarint(nil, last)
			a.more = appendStats(a.more, it.Stats())
			return nil
		}
	}
}

// batch sends the first rows of a batch.
func (a *answer) batch(enc *batchEncoder, b *model.EntryBatch, end int) error {
	for from := 0; from < end || b.Dropped > 0 && from == 0; {
		to := min(cutRows(b, from), end)
		if err := a.send(frameBatch, enc.encode(b, from, to)); err != nil {
			return err
		}
		if to == from {
			break
		}
		from = to
	}
	return nil
}

// serveTail answers with new rows, until the asker leaves or the store is closed.
func (s *Store) serveTail(a *answer, r *http.Request) error {
	var w wireTail
	if err := decodeRequest(r, &w); err != nil {
		return err
	}
	ms, err := fromWire(w.Matchers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	it, err := s.local.Tail(ctx, model.TailRequest{Matchers: ms, Buffer: w.Buffer})
	if err != nil {
		return err
	}
	defer it.Close()                                    //nolint:errcheck // of memory only
	if err := a.send(frameHeartbeat, nil); err != nil { // it is being followed now
		return err
	}
	if err := a.rows(ctx, it, nil); err != nil && s.closing.Err() == nil {
		return err
	}
	return nil
}

// rows sends what an iterator gives.
func (a *answer) rows(ctx context.Context, it model.BatchIterator, filter *rowFilter) error {
	var enc batchEncoder
	for {
		b, err := it.Next(ctx)
		if isEnd(err) {
			return nil
		}
		if err != nil {
			return err
		}
		b = filter.pass(b)
		if err := a.batch(&enc, b, b.Len()); err != nil {
			return err
		}
	}
}

// serveList answers the questions for lists.
func (s *Store) serveList(a *answer, r *http.Request) error {
	var q wireQuestion
	if err := decodeRequest(r, &q); err != nil {
		return err
	}
	ms, err := fromWire(q.Matchers)
	if err != nil {
		return err
	}
	ctx, span := r.Context(), model.TimeRange{Start: q.Start, End: q.End}
	switch a.what {
	case "names":
		list, err := s.local.LabelNames(ctx, span, ms)
		return sendList(a, list, err, appendString)
	case "values":
		list, err := s.local.LabelValues(ctx, q.Name, span, ms)
		return sendList(a, list, err, appendString)
	case "series":
		list, err := s.local.Series(ctx, span, ms)
		return sendList(a, list, err, appendLabels)
	case "volume":
		list, err := s.local.Volume(ctx, span, ms)
		return sendList(a, list, err, appendVolume)
	default:
		list, err := s.local.Extents(ctx, span, ms)
		return sendList(a, list, err, appendExtent)
	}
}

// sendList sends elements, some in each frame.
func sendList[T any](a *answer, list []T, err error, element func([]byte, T) []byte) error {
	if err != nil {
		return err
	}
	var buf []byte
	for i, v := range list {
		if buf = element(buf, v); len(buf) >= frameText || i == len(list)-1 {
			if err := a.send(frameList, buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	return nil
}

func appendVolume(dst []byte, v model.StreamVolume) []byte {
	dst = appendLabels(dst, v.Labels)
	for _, n := range [...]int64{v.Entries, v.Bytes, v.Chunks} {
		dst = binary.AppendVarint(dst, n)
	}
	return dst
}

func appendExtent(dst []byte, e model.StreamSpans) []byte {
	dst = binary.AppendUvarint(appendLabels(dst, e.Labels), uint64(len(e.Spans)))
	for _, sp := range e.Spans {
		dst = binary.AppendVarint(binary.AppendVarint(dst, sp.Min), sp.Max)
	}
	return dst
}
