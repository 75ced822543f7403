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
		if err := it.read(ctx, toWireSelect(&r)); err != nil && ctx.Err() == nil {
			s.warn(asker, p, r.Range, err)
		}
	}()
	return it
}

// read asks and passes batches on, until the end, an error or that of ctx.
func (it *remote) read(ctx context.Context, body any) error {
	resp, err := it.s.post(ctx, it.p, "select", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	frames := newPatientReader(resp, it.s.opts.Idle)
	defer frames.stop()
	var table batchTable
	for {
		var rb *remoteBatch
		select {
		case rb = <-it.free:
		case <-ctx.Done():
			return ctx.Err()
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
						return ctx.Err()
					}
				}
			case frameEnd:
				stats, err := decodeStats(payload)
				it.mu.Lock()
				it.stats = stats
				it.mu.Unlock()
				return err
			case frameError:
				return &RemoteError{Msg: string(payload)}
			case frameHeartbeat:
			default:
				err = damaged("a frame of kind %q", kind)
			}
		}
		it.free <- rb
		if err != nil {
			it.s.fail(ctx, it.p, err)
			return err
		}
	}
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
