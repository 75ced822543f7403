package peers

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// remoteBatches is how many batches of a peer are read ahead.
const remoteBatches = 2

// remote reads rows from a peer. A goroutine reads and decodes ahead. When the
// peer fails the rows end there, with a warning: everything else is answered.
type remote struct {
	s      *Store
	p      *peer
	span   model.TimeRange // what is asked for, for warnings
	asker  context.Context // whose warnings they are
	cancel context.CancelFunc
	ready  chan *remoteBatch // closed at the end
	free   chan *remoteBatch
	done   chan struct{} // closed when the goroutine is gone

	cur   *remoteBatch // handed out
	ended bool
	err   error

	mu    sync.Mutex
	stats model.SelectStats
}

type remoteBatch struct {
	b       model.EntryBatch
	payload []byte
}

// selectFrom begins a Select at a peer. It does not wait for the answer.
func (s *Store) selectFrom(ctx context.Context, p *peer, r model.SelectRequest) *remote {
	asker := ctx
	ctx, cancel := context.WithCancel(ctx)
	it := &remote{
		s: s, p: p, span: r.Range, asker: asker, cancel: cancel,
		ready: make(chan *remoteBatch, remoteBatches), free: make(chan *remoteBatch, remoteBatches+1), done: make(chan struct{}),
	}
	for range remoteBatches + 1 {
		it.free <- &remoteBatch{}
	}
	go func() {
		defer close(it.done)
		defer close(it.ready)
		if err := it.pages(ctx, r); err != nil && ctx.Err() == nil {
			s.warn(asker, p, r.Range, err)
		}
	}()
	return it
}

// pageGrowth is how much larger each page of an answer is than the one before,
// maxPage the largest: what follows comes as one.
const (
	pageGrowth = 4
	maxPage    = 100_000
)

// pages asks for all rows. A reader that may stop soon gets them in pages, so that
// the peer does not work for nothing.
func (it *remote) pages(ctx context.Context, r model.SelectRequest) error {
	w := toWireSelect(&r)
	if !r.Unordered {
		w.Limit = r.BatchRows
	}
	var table batchTable
	for {
		last, more, err := it.read(ctx, &table, &w)
		if err != nil || !more {
			return err
		}
		if w.Forward {
			w.Start = last + 1
		} else {
			w.End = last
		}
		if w.Start >= w.End {
			return nil
		}
		if w.Limit *= pageGrowth; w.Limit > maxPage {
			w.Limit = 0
		}
		table.base = len(table.streams)
		if err := it.wanted(ctx); err != nil {
			return err
		}
	}
}

// wanted waits until the reader has read everything and asks for more: then it has
// given all batches back.
func (it *remote) wanted(ctx context.Context) error {
	var all [remoteBatches + 1]*remoteBatch
	for i := range all {
		select {
		case all[i] = <-it.free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, rb := range all {
		it.free <- rb
	}
	return nil
}

// read asks and passes batches on, until the end, an error or that of ctx. There
// may be more behind the last timestamp.
func (it *remote) read(ctx context.Context, table *batchTable, body any) (last int64, more bool, err error) {
	resp, err := it.s.post(ctx, it.p, "select", body)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	frames := newPatientReader(resp, it.p.idle)
	defer frames.stop()
	for {
		var rb *remoteBatch
		select {
		case rb = <-it.free:
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
		kind, payload, err := frames.next(rb.payload)
		rb.payload = payload
		if err == nil {
			switch kind {
			case frameBatch:
				if err = table.decodeBatch(payload, &rb.b); err == nil && rb.b.Len() > 0 {
					select {
					case it.ready <- rb:
						continue
					case <-ctx.Done():
						return 0, false, ctx.Err()
					}
				}
			case frameEnd, frameMore:
				if kind == frameMore {
					d := decoder{b: payload}
					last, more = d.varint(), true
					payload = d.b
				}
				it.free <- rb
				return last, more, it.count(payload)
			case frameError:
				return 0, false, &RemoteError{Msg: string(payload)}
			case frameHeartbeat:
			default:
				err = damaged("a frame of kind %q", kind)
			}
		}
		it.free <- rb
		if err != nil {
			it.s.fail(ctx, it.p, err)
			return 0, false, err
		}
	}
}

// count adds the statistics of an answer.
func (it *remote) count(payload []byte) error {
	stats, err := decodeStats(payload)
	it.mu.Lock()
	it.stats.Add(stats)
	it.mu.Unlock()
	return err
}

// Next implements model.BatchIterator.
func (it *remote) Next(ctx context.Context) (*model.EntryBatch, error) {
	if it.ended || it.err != nil {
		return nil, it.end()
	}
	if it.cur != nil {
		it.free <- it.cur
		it.cur = nil
	}
	select {
	case rb, ok := <-it.ready:
		if !ok {
			it.ended = true
			if it.err = it.asker.Err(); it.err == nil { // who asked may have left
				it.err = io.EOF
			}
			return nil, it.err
		}
		it.cur = rb
		return &rb.b, nil
	case <-ctx.Done():
		it.err = ctx.Err()
		return nil, it.err
	}
}

func (it *remote) end() error {
	if it.err == nil {
		return io.EOF
	}
	return it.err
}

// Stats implements model.BatchIterator. They are those of the whole request,
// and known at its end.
func (it *remote) Stats() model.SelectStats {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.stats
}

// Close implements model.BatchIterator.
func (it *remote) Close() error {
	it.cancel()
	<-it.done
	it.ended = true
	return nil
}

// patientReader reads the frames of an answer and gives up on a peer that is
// silent for too long. Time in which nobody reads does not count.
type patientReader struct {
	frameReader
	body  io.Closer
	idle  time.Duration
	timer *time.Timer
	mu    sync.Mutex
	late  bool
}

func newPatientReader(resp *http.Response, idle time.Duration) *patientReader {
	p := &patientReader{frameReader: frameReader{r: resp.Body}, body: resp.Body, idle: idle}
	p.timer = time.AfterFunc(idle, func() {
		p.mu.Lock()
		p.late = true
		p.mu.Unlock()
		p.body.Close() //nolint:errcheck // the read that hangs returns
	})
	return p
}

func (p *patientReader) stop() { p.timer.Stop() }

// next is that of frameReader.
func (p *patientReader) next(dst []byte) (byte, []byte, error) {
	p.timer.Reset(p.idle)
	kind, payload, err := p.frameReader.next(dst)
	p.timer.Stop()
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.late {
			err = errTimeout
		}
		return kind, dst, err
	}
	return kind, payload, nil
}
