package podlogs

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// overlap is how far before the anchor a request begins. The API floors
	// sinceTime to the second anyway; a little more also covers a clock that is
	// set back by less.
	overlap = 2 * time.Second
	// readTimeout is how long a plain read or a probe may be silent.
	readTimeout = 60 * time.Second
	// settle is how long the status of a restarted container may lag behind
	// the kubelet that serves its log.
	settle = time.Second
	// rotationInterval is the kubelet's default: a file that was read within
	// this time after the start of its run was not rotated before.
	rotationInterval = 10 * time.Second
	// emptyLapse is how long a file that was empty may go unread and still be
	// taken for the same file. Idle containers are polled twice in this time.
	emptyLapse = 2 * pollMax
	// promptStart is how late after the start of a run its first line may be to
	// be taken as the first one. The status has whole seconds.
	promptStart = 2 * time.Second
	// tailChecks is how many reads have to miss a file's newest record before it
	// is believed to be part of the anchor's line.
	tailChecks = 4
	// maxDoubts is how many times in a row a log may end before the anchor
	// without showing that it was rotated, before that is believed.
	maxDoubts = 5
)

// ending is how a plain read ended.
type ending struct {
	// any says that there was a line with a timestamp; first and latest are the
	// first and the greatest timestamp, last is the last line.
	any           bool
	first, latest int64
	last          record // with its text
	head          head   // of what was read
	// tail is the text behind the last newline.
	tail    record
	hasTail bool
	size    int64 // of the body
}

func (e *ending) see(line *rawLine) {
	ts := line.ts
	if !e.any || ts > e.latest {
		e.latest = ts
	}
	if !e.any {
		e.any, e.first = true, ts
		e.head = newHead(ts, line.text)
	}
}

// record is one line, remembered.
type record struct {
	ts      int64
	hash    uint64
	stamped bool
	// open says that no newline followed.
	open bool
	text string
	full int
}

func recordOf(line *rawLine, open bool) record {
	return record{ts: line.ts, hash: line.hash, stamped: line.stamped, open: open, text: string(line.text), full: line.full}
}

func (r record) line() rawLine {
	return rawLine{ts: r.ts, hash: r.hash, stamped: r.stamped, text: []byte(r.text), full: r.full}
}

// sameAs compares identities.
func (r record) sameAs(o record) bool {
	return r.ts == o.ts && r.hash == o.hash && r.stamped == o.stamped
}

// endsAs says whether the other record can be the last fragment of this line:
// a look at the end of a file counts fragments, each with its own timestamp.
func (r record) endsAs(o record) bool {
	return o.ts >= r.ts && o.text != "" && (r.full > 0 || strings.HasSuffix(r.text, o.text))
}

// is says whether the record is the anchor's line.
func (r record) is(a anchor) bool { return a.valid() && r.stamped && r.ts == a.ts && r.hash == a.hash }

func sinceAnchor(a anchor) *metav1.Time {
	t := metav1.NewTime(time.Unix(0, a.ts).Add(-overlap).Truncate(time.Second))
	return &t
}

// scan makes a plain request and shows every whole line to f. An error text in
// the body is an error, unless the caller has to compare tails itself.
func (t *target) scan(ctx context.Context, v *containerView, kind string, o *corev1.PodLogOptions, f func(*rawLine) error) (ending, error) {
	var end ending
	if err := t.admit(ctx, v, kind, o); err != nil {
		return end, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(readTimeout, func() { cancel(context.DeadlineExceeded) })
	defer watchdog.Stop()
	body, err := t.open(ctx, v, kind, o)
	if err != nil {
		return end, err
	}
	defer body.Close()
	lr := newLineReader(body, t.c.opts.MaxLineBytes)
	defer lr.close()
	var line rawLine
	for {
		err := lr.fill()
		end.size = lr.read
		stamped := false
		for lr.scan(&line) {
			if line.stamped {
				end.see(&line)
				stamped = true
			}
			if err := f(&line); err != nil {
				return end, err
			}
		}
		if stamped && line.stamped {
			end.last = recordOf(&line, false)
		}
		switch {
		case errors.Is(err, io.EOF):
			if lr.tail(&line) {
				end.hasTail = true
				end.tail = recordOf(&line, true)
			}
			return end, nil
		case err != nil:
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return end, err
		}
		watchdog.Reset(readTimeout)
	}
}

// inbandTail is the error in the unterminated end of a read, or nil.
func (e *ending) inbandTail() error {
	if !e.hasTail {
		return nil
	}
	if kind := inbandError([]byte(e.tail.text)); kind != "" {
		return &inbandFailure{kind: kind, text: firstWords(e.tail.text)}
	}
	if !e.tail.stamped {
		return &inbandFailure{kind: "other", text: firstWords(e.tail.text)}
	}
	return nil
}

// catchUp reads without following: everything behind the anchor, to the end of
// the file. A plain read cannot get stuck on a rotated file as a follow can.
// proven says that the file was shown to continue what is stored.
func (t *target) catchUp(ctx context.Context, v *containerView, r *reading, previous bool) (end ending, proven bool, err error) {
	if done, err := t.fillFirst(ctx, v, r); done || err != nil {
		if err == nil {
			return t.catchUpFilled(ctx, v, r, previous)
		}
		return end, false, err
	}
	want := r.cur.anchor
	if r.gap != nil {
		want = anchor{} // known not to be in the file
	} else if !want.valid() {
		want = t.carry
	}
	if !want.valid() {
		end, err = t.scan(ctx, v, "catchup", &corev1.PodLogOptions{Previous: previous}, r.accept)
		if err == nil {
			r.read = time.Now()
			t.noteHead(end, previous)
			err = t.sameRun(ctx, v, r, previous)
		}
		return end, false, err
	}
	if !t.noSince && r.cur.anchor.valid() {
		var found bool
		end, found, _, err = t.seek(ctx, v, r, previous, want, sinceAnchor(want))
		if err != nil || found {
			t.doubts = 0
			return end, found, err
		}
	}
	end, found, seen, err := t.seek(ctx, v, r, previous, want, nil)
	if err == nil {
		t.noteHead(end, previous)
	}
	if err != nil || found {
		if found && r.start.anchor != r.cur.anchor && r.piece == nil {
			r.piece = newPiece(0) // carried over: to be known as this run's
		}
		t.doubts = 0
		return end, found, err
	}
	if previous && r.cur.anchor.valid() {
		if moved, err := t.mistaken(ctx, v, r); moved || err != nil {
			return end, false, errors.Join(errInstanceMoved, err)
		}
	}
	if err := t.believe(ctx, v, r, previous, want, end); err != nil {
		return end, false, err
	}
	t.absent = anchor{}
	if t.continues(want, end) {
		t.absent = want
	} else if r.cur.anchor.valid() {
		if done, err := t.fillRotated(ctx, v, r); err != nil {
			return end, false, err
		} else if done {
			return t.catchUpFilled(ctx, v, r, previous)
		}
		r.gap = &gap{reason: GapRotatedAway, from: want.ts, container: r.cur.instance}
		t.gap = r.gap
		t.sure, t.sureKnown = want, true
	}
	t.carry = anchor{}
	// Nothing of this file is stored, except lines of a group of identical ones
	// that a rotation went through.
	skip := finder{want: anchor{ts: want.ts, hash: want.hash, ordinal: seen}}
	found = seen == 0
	before := end.head
	end, err = t.scan(ctx, v, "catchup", &corev1.PodLogOptions{Previous: previous}, func(line *rawLine) error {
		if before.known() && line.stamped {
			if t.absent.valid() && !before.begins(line.ts, line.text) {
				return errRotatedMeanwhile
			}
			before = head{}
		}
		if !found {
			found = skip.is(line)
			return nil
		}
		return r.accept(line)
	})
	if err != nil {
		t.absent = anchor{}
	}
	if err == nil {
		r.read = time.Now()
	}
	return end, false, err
}

// noteHead keeps the head of a file that was read from its beginning.
func (t *target) noteHead(end ending, previous bool) {
	if !previous {
		t.head, t.sinceHead = end.head, end.size
	}
}

// sameRun asks whether the run whose first lines were just read is still the
// one that is served, and the pod the one that is asked for: the status may have
// been old. What was read is thrown away otherwise, if it was not handed over
// yet. A pod that is gone without a successor wrote what was read.
func (t *target) sameRun(ctx context.Context, v *containerView, r *reading, previous bool) error {
	if r.lines == 0 {
		return nil
	}
	fresh := t.refresh(ctx, v)
	if t.isReplaced() {
		r.discard()
		return errChanged
	}
	if v.last {
		return nil // no run follows
	}
	serves := fresh.current.id
	if previous {
		serves = fresh.previous.id
	}
	if serves == r.cur.instance || r.flushed > 0 {
		return nil
	}
	r.discard()
	return errInstanceMoved
}

// late says that the file of a run of which nothing is stored may have been
// rotated unseen: before it was first read, or while nobody looked at it. What
// was before the target was known at all is no gap.
func (t *target) late() bool {
	known := t.knownRun() || t.inherited
	switch {
	case t.inst.started.IsZero():
		return false
	case !t.contact.IsZero():
		return known && t.startLate || time.Since(t.contact) > emptyLapse
	}
	return known && time.Since(t.inst.started) > rotationInterval
}

// seek reads and accepts everything behind the wanted anchor.
func (t *target) seek(ctx context.Context, v *containerView, r *reading, previous bool, want anchor, since *metav1.Time) (ending, bool, uint32, error) {
	f := finder{want: want}
	found, skipped := false, 0
	group := heldGroup{on: r.cur.taken && r.cur.anchor == want, ts: want.ts}
	end, err := t.scan(ctx, v, "catchup", &corev1.PodLogOptions{Previous: previous, SinceTime: since}, func(line *rawLine) error {
		if found {
			return r.accept(line)
		}
		if !line.stamped {
			return nil // the end of a line whose beginning lies before since
		}
		skipped++
		if err := group.add(r, line); err != nil {
			return err
		}
		if found = f.is(line); found {
			if err := group.accept(r); err != nil {
				return err
			}
			r.lastTS = line.ts
			r.cur.anchor, r.cur.ord = want, f.ord
		}
		return nil
	})
	t.c.metrics.duplicates.Add(float64(skipped))
	t.trace("sought the anchor", "found", found, "skipped", skipped, "new", r.lines, "since", since, "err", err)
	if err == nil && !found {
		err = end.inbandTail()
	}
	return end, found, f.seen, err
}

// believe decides whether the absence of the anchor shows that the file was
// rotated. It does not when the response may have been cut short (every failure
// behind the API server looks like a clean end) or when the container was
// restarted meanwhile. nil means that it does.
func (t *target) believe(ctx context.Context, v *containerView, r *reading, previous bool, want anchor, end ending) error {
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	fresh := t.refresh(ctx, v)
	serves := fresh.current.id
	if previous {
		serves = fresh.previous.id
	}
	if _, deleted := t.snapshot(); deleted {
		return errChanged
	}
	if serves != r.cur.instance {
		return errInstanceMoved
	}
	if end.any && (end.first > want.ts || end.latest > want.ts+int64(time.Second)) {
		t.doubts = 0
		return nil
	}
	if !end.any {
		newest, err := t.probeTail(ctx, v, previous)
		if err != nil {
			return err
		}
		if newest == nil {
			t.doubts = 0
			return nil // the new file has no line yet
		}
	}
	limit := maxDoubts
	if !r.cur.anchor.valid() {
		limit = 2 // it is the anchor of another run, most likely not in this file
	}
	if t.doubts++; t.doubts < limit {
		return errIncomplete
	}
	t.doubts = 0
	return nil
}

// probeTail returns the newest record of the file, nil if it has none. It is
// the only cheap look at the end of a log: the kubelet reads backwards for it.
func (t *target) probeTail(ctx context.Context, v *containerView, previous bool) (*record, error) {
	one := int64(1)
	end, err := t.scan(ctx, v, "probe", &corev1.PodLogOptions{Previous: previous, TailLines: &one}, func(*rawLine) error { return nil })
	switch {
	case err != nil:
		return nil, err
	case end.hasTail && !end.tail.stamped:
		return nil, end.inbandTail()
	case end.hasTail:
		return &end.tail, nil
	case end.any:
		return &end.last, nil
	}
	return nil, nil
}

// tailCheck counts reads that did not find the newest record of the file,
// although they read from the anchor on. Fragments of long lines look different
// from behind, so after enough of them the record is taken as read.
type tailCheck struct {
	newest record
	anchor anchor
	times  int
	at     time.Time
}

// failed notes one more such read.
func (c *tailCheck) failed(newest record, a anchor) {
	if c.newest != newest || c.anchor != a {
		*c = tailCheck{newest: newest, anchor: a}
	}
	c.times++
	c.at = time.Now()
}

// settled says that the record was looked for often enough.
func (c *tailCheck) settled(newest record, a anchor) bool {
	return c.times >= tailChecks && c.newest == newest && c.anchor == a && time.Since(c.at) < 10*time.Minute
}

// isTransient says that a read may well work when it is tried again, whatever
// happens to the container.
func isTransient(err error) bool {
	var oe *openError
	if errors.As(err, &oe) {
		return oe.kind != openWaiting
	}
	var in *inbandFailure
	if errors.As(err, &in) {
		return in.kind != "container_gone" && in.kind != "file_gone" && in.kind != "runtime" && in.kind != "format"
	}
	return true
}

// heldGroup is the lines of the anchor's timestamp, as far as the anchor, of a
// target that was taken over: they are stored again. A query takes of equal lines
// the largest number that one replica holds, so one of them has to hold all.
type heldGroup struct {
	on    bool
	ts    int64
	lines []record
	bytes int
	// full says that they are too many to be held: they are accepted at once, and
	// stored twice should the anchor turn out to be missing.
	full bool
}

// maxHeldGroup bounds the memory of a group. CRI-O gives one timestamp to what
// it read at once, which is some KiB.
const maxHeldGroup = 4 << 20

func (g *heldGroup) add(r *reading, line *rawLine) error {
	if !g.on || line.ts != g.ts {
		return nil
	}
	if g.full {
		return r.accept(line)
	}
	g.lines = append(g.lines, recordOf(line, false))
	if g.bytes += len(line.text) + 64; g.bytes > maxHeldGroup {
		g.full = true
		return g.accept(r)
	}
	return nil
}

// accept adds the lines held.
func (g *heldGroup) accept(r *reading) error {
	for _, held := range g.lines {
		line := held.line()
		if err := r.accept(&line); err != nil {
			return err
		}
	}
	g.lines = nil
	return nil
}
