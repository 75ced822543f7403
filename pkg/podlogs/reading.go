package podlogs

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// reading turns lines into pieces, from the committed position on. Only one
// goroutine at a time uses it.
type reading struct {
	t       *target
	session *session
	labels  labels.Labels
	cur     cursor
	start   position
	piece   *piece
	gap     *gap
	// late says that the first line may not be the run's first, see target.late.
	late bool
	// done, last and forget are what end says about the position.
	done, last, forget bool
	// unlabel removes the target's stored labels.
	unlabel bool
	// lines and bytes count what was accepted, flushed the pieces handed over.
	lines, bytes int64
	flushed      int
	// read is when the file of a run without anchor was read to its end.
	read       time.Time
	lastTS     int64
	stop       context.CancelCauseFunc
	ctx        context.Context
	labelsSent bool
	// filled says that files were read for what the API does not show.
	filled bool
}

// newReading begins at the committed position. The reading's context ends when
// one of its pieces cannot be stored.
func (t *target) newReading(ctx context.Context, v *containerView) *reading {
	ctx, cancel := context.WithCancelCause(ctx)
	pos := t.position()
	return &reading{
		t: t, labels: v.labels, start: pos, cur: cursor{position: pos}, gap: t.gap,
		late:    !pos.anchor.valid() && t.late(),
		session: &session{target: t, cancel: cancel}, stop: cancel, ctx: ctx,
	}
}

// accept adds a new line.
func (r *reading) accept(line *rawLine) error {
	if !line.stamped {
		if r.lastTS == 0 {
			r.t.c.metrics.unparsed.Inc()
			return nil // neither a line nor attached to one
		}
		// The kubelet never writes this between two whole lines; should it, the
		// text stays with the line before it.
		r.t.c.metrics.unparsed.Inc()
		line.ts = r.lastTS
	}
	meta := r.meta(line)
	if err := r.store(line, meta); err != nil {
		return err
	}
	r.cur.advance(line)
	return nil
}

// store adds a line to the present piece, behind a gap that goes before it.
func (r *reading) store(line *rawLine, meta labels.Labels) error {
	ts := line.ts
	if !r.cur.anchor.valid() && r.gap == nil {
		r.gap = r.beginning(line, ts)
	}
	if err := r.room(len(line.text)); err != nil {
		return err
	}
	if r.gap != nil { // into the line's piece: the position behind both covers both
		g := *r.gap
		g.to = ts
		r.gap = nil
		r.addGap(g)
	}
	if line.full > 0 {
		r.t.c.metrics.truncated.Inc()
	}
	r.piece.add(ts, line.text, meta)
	r.lastTS = ts
	r.lines++
	r.bytes += int64(len(line.text))
	return nil
}

// meta is the structured metadata of a line.
func (r *reading) meta(line *rawLine) labels.Labels {
	if line.full == 0 {
		return labels.EmptyLabels()
	}
	return labels.FromStrings(MetaTruncated, strconv.Itoa(line.full))
}

// beginning looks at the first line of a run of which nothing is stored: it is
// a gap if the line is not the one seen first before the store refused it, or if
// the run is old and its first line may have been rotated away.
func (r *reading) beginning(line *rawLine, ts int64) *gap {
	t := r.t
	seen := anchor{ts: ts, hash: line.hash, ordinal: 1}
	if t.first.valid() && t.first != seen && ts >= t.first.ts {
		return &gap{reason: GapRotatedAway, from: t.first.ts, container: r.cur.instance}
	}
	t.first = seen
	if begin := t.inst.started; r.late && ts > begin.Add(promptStart).UnixNano() {
		if !t.knownRun() && !t.inherited && t.contact.After(begin) {
			begin = t.contact // what was before is nobody's gap
		}
		return &gap{reason: GapRotatedAway, from: begin.UnixNano(), container: r.cur.instance}
	}
	return nil
}

// room makes sure the current piece takes n more bytes.
func (r *reading) room(n int) error {
	if r.piece != nil && !r.piece.fits(n) {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if r.piece == nil {
		want := n
		if r.lines > 0 && r.bytes/r.lines*32 > smallPiece {
			want = max(want, largePiece)
		}
		r.piece = newPiece(want)
	}
	return nil
}

// addGap writes a gap entry before the next line.
func (r *reading) addGap(g gap) {
	e := g.entry(time.Now())
	if r.piece == nil {
		r.piece = newPiece(smallPiece)
	}
	r.piece.entries = append(r.piece.entries, e)
	m := r.t.c.metrics
	m.gaps.WithLabelValues(string(g.reason)).Inc()
	m.gapSeconds.Add(g.seconds())
	r.t.c.log.warn("gap "+r.t.key.String(), "log lines may be missing", "target", r.t.name(), "gap", g.text())
}

// flush hands the current piece to the batcher.
func (r *reading) flush() error {
	if r.piece == nil {
		return nil
	}
	return r.submit(r.cur.position)
}

func (r *reading) submit(pos position) error {
	p := r.piece
	r.piece = nil
	r.flushed++
	p.session, p.labels, p.pos = r.session, r.labels, pos
	if r.forget {
		p.addMark(model.Mark{Key: r.t.key.mark()})
		p.addMark(model.Mark{Key: r.t.key.labelsMark()})
	} else {
		p.addMark(model.Mark{Key: r.t.key.mark(), Value: pos.encodeShared(r.t.epoch)})
		if r.unlabel {
			p.addMark(model.Mark{Key: r.t.key.labelsMark()})
		} else if r.t.labelsDiffer(r.labels) && !r.labelsSent {
			p.addMark(model.Mark{Key: r.t.key.labelsMark(), Value: encodeLabels(r.labels)})
			r.labelsSent = true
		}
	}
	err := r.t.c.batcher.submit(r.ctx, p, stallLimit)
	if err != nil {
		p.free()
		r.session.fail(err)
	}
	return err
}

// labelsDiffer says whether the store does not hold these labels for the target.
func (t *target) labelsDiffer(ls labels.Labels) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !labels.Equal(t.storedLabels, ls)
}

// end stores what is left and waits until all of the reading is durable.
func (r *reading) end() error {
	pos := r.cur.position
	pos.done, pos.last = r.done, r.done && r.last
	if r.piece == nil && (r.forget || pos != r.start && r.done) {
		r.piece = newPiece(0)
	}
	var err error
	if r.piece != nil {
		r.cur.position = pos
		err = r.submit(pos)
	}
	return errors.Join(err, r.wait())
}

// wait returns when everything handed over is stored or refused.
func (r *reading) wait() error {
	err := r.session.wait()
	t := r.t
	if r.labelsSent && err == nil {
		t.mu.Lock()
		t.storedLabels = r.labels
		t.mu.Unlock()
	}
	if err == nil && !r.read.IsZero() {
		t.mu.Lock()
		t.startLate = t.startLate || t.contact.IsZero() && r.late
		t.contact = r.read
		t.mu.Unlock()
		t.c.touched(t.key)
	}
	if t.position() != r.start {
		t.gap = nil // it went before whatever was stored
	}
	if r.gap != nil {
		t.gap = r.gap
	}
	return err
}

// discard forgets the lines that were not handed over, and the cursor.
func (r *reading) discard() {
	if r.piece != nil {
		r.piece.free()
		r.piece = nil
	}
	r.cur, r.read, r.t.first = cursor{position: r.start}, time.Time{}, anchor{}
}

// close frees what the reading holds; its lines that were not handed over are
// read again later.
func (r *reading) close() {
	if r.piece != nil {
		r.piece.free()
		r.piece = nil
	}
	_ = r.wait()
	r.stop(nil)
}
