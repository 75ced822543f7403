package podlogs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

// Filling from files what would be a gap. The files are read from the anchor to
// the end of the live one, so that the API goes on from a line that it shows:
// no boundary between the two has to be guessed.

// unfilled notes why nothing could be filled.
func (t *target) unfilled(ctx context.Context, v *containerView, err error) {
	t.c.metrics.backfills.WithLabelValues("failed").Inc()
	var e *nodefiles.Error
	if errors.As(err, &e) && e.OfNode() {
		_ = t.c.files.recheck(ctx, v) // notes what is wrong
	}
	if !errors.Is(err, errNoNode) {
		t.c.log.warn("fill "+t.key.String(), "what the API no longer shows of a log could not be read from the node's files", "target", t.name(), "err", err)
	}
}

// filled counts lines that the API would not have shown.
func (t *target) filled(lines int64) {
	t.c.metrics.backfills.WithLabelValues("done").Inc()
	t.c.metrics.backfilled.Add(float64(lines))
}

// fill reads from the files what lies behind the position of a run, up to the
// end of the live file. It reports whether nothing is missing before the cursor;
// if something is, the gap is where it belongs. An error means that a part was read.
func (t *target) fill(ctx context.Context, v *containerView, r *reading) (bool, error) {
	before, began := r.lines, r.cur.anchor
	r.cur.file = filePos{} // the API goes on
	fr, err := t.openFiles(ctx, v, r, r.cur.restart)
	if err == nil {
		fr.perStream = false
		err = fr.start(ctx, true)
	}
	for tries := 0; err == nil && (tries == 0 || fr.ch.more && tries < restTries); tries++ {
		if tries > 0 {
			err = sleep(ctx, fileRest)
		}
		if err == nil {
			err = fr.pass(ctx)
		}
	}
	if err != nil {
		t.unfilled(ctx, v, err)
		if r.lines > before || r.cur.anchor != began || !finalFill(err) {
			return false, err
		}
		if t.misses++; nodefiles.KindOf(err) == nodefiles.KindNotFound && t.misses < 3 {
			return false, err // renamed a moment ago, perhaps
		}
		return false, nil
	}
	t.misses = 0
	if a := r.cur.anchor; a.valid() && (!fr.ch.file.Live() || fr.last != fr.ch.id) {
		t.past = a
	}
	t.filled(r.lines - before)
	return true, nil
}

// finalFill says of an error that the files cannot be read now, and that what is
// only in them is to be marked as missing.
func finalFill(err error) bool {
	kind := nodefiles.KindOf(err)
	return kind != "" && kind != nodefiles.KindBusy || errors.Is(err, errNoNode) || errors.Is(err, errUnproven)
}

// pastLive says that the last stored line is not, or not all, in the live file:
// neither a follow nor a read could find it there.
func (t *target) pastLive() bool { return t.past.valid() && t.past == t.position().anchor }

// fillRotated is asked for what a rotation has taken out of the API's sight.
// done means that the catch-up is over or can go on from the cursor.
func (t *target) fillRotated(ctx context.Context, v *containerView, r *reading) (bool, error) {
	if t.c.files == nil {
		return false, nil
	}
	if r.filled {
		return false, errRotatedAgain
	}
	done, err := t.fill(ctx, v, r)
	r.filled = done
	return done, err
}

// errRotatedAgain ends a catch-up that files have helped already.
var errRotatedAgain = errors.New("the log was rotated while its files were read")

// catchUpFilled goes on with the API after a fill.
func (t *target) catchUpFilled(ctx context.Context, v *containerView, r *reading, previous bool) (ending, bool, error) {
	if r.cur.anchor.valid() && t.past == r.cur.anchor {
		return ending{}, true, nil // the live file has no whole line yet
	}
	return t.catchUp(ctx, v, r, previous)
}

// fillFirst is asked at the beginning of a catch-up: for what a run that is read
// late has written before its live file, and when the API cannot be gone on with.
func (t *target) fillFirst(ctx context.Context, v *containerView, r *reading) (bool, error) {
	// Also when lines were seen and then refused by the store.
	late := (r.late || t.unwatched() || t.first.valid() && t.knownRun()) && !r.cur.anchor.valid()
	if r.gap != nil || !late && (!r.cur.anchor.valid() || t.past != r.cur.anchor) {
		return false, nil
	}
	done, err := t.fillRotated(ctx, v, r)
	return done && r.cur.anchor.valid(), err
}

// unwatched says that the file was empty when it was last read, and may have been
// filled and rotated since then. Without files it is taken for the same one much
// longer (emptyLapse): a gap before the first line of every container that was
// idle would be wrong nearly always.
func (t *target) unwatched() bool {
	return !t.contact.IsZero() && time.Since(t.contact) > rotationInterval
}

// knownRun says that the run began after the collector, or after a run of which
// something was read: all of it is wanted.
func (t *target) knownRun() bool { return !t.newcomer || t.inst.started.After(t.c.began) }

// fillLost reads the rest of the run at the cursor, which will not go on, and the
// runs after it, up to the one before the given restart count; -1 means all there
// are. What could not be read is marked in its place. It returns the gap, made of
// g, that belongs behind the last line, nil for none.
func (t *target) fillLost(ctx context.Context, v *containerView, r *reading, g gap, until int32) *gap {
	if t.c.files == nil {
		return &g
	}
	var files []nodefiles.File
	err := insist(ctx, func() error {
		d, err := t.c.files.dir(ctx, v)
		if err == nil {
			files, err = t.c.files.src.List(ctx, d)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		if err != nil {
			t.unfilled(ctx, v, err)
		}
		return &g
	}
	if until < 0 {
		until = files[len(files)-1].Run + 1
	}
	missing := func(runs int) {
		if r.gap == nil {
			r.gap = &gap{reason: g.reason, from: max(r.lastTS, g.from), container: r.cur.instance}
		}
		r.gap.instances += runs
	}
	if !r.cur.done && !t.fillRun(ctx, v, r, r.cur.restart) {
		missing(0)
	}
	for run := r.cur.restart + 1; run < until; run++ {
		n := len(nodefiles.OfRun(files, run))
		if n > 0 {
			r.cur = cursor{position: position{instance: runName(run), restart: run}}
			t.first = anchor{}
		}
		if t.c.files.node(v.node).lacks(n) {
			missing(0)
		}
		if n == 0 || !t.fillRun(ctx, v, r, run) {
			missing(1)
		}
	}
	left := r.gap
	if r.gap = nil; left != nil {
		left.to = g.to
	}
	return left
}

// fillFinal reads what is left of a pod that is gone. It reports whether nothing
// is missing; if something is, the reading's gap says what.
func (t *target) fillFinal(ctx context.Context, v *containerView, r *reading, complete, ran bool) bool {
	if t.c.files == nil || r.gap == nil && (complete || !ran) {
		return complete
	}
	if r.cur.instance == "" {
		first := v.current
		if v.previous.exists() {
			first = v.previous
		}
		r.cur.position = position{instance: first.id, restart: first.restart}
	}
	r.gap = t.fillLost(ctx, v, r, gap{
		reason: GapPodDeleted, from: r.cur.anchor.ts, to: endOfSecond(v.current.ended), container: r.cur.instance,
	}, -1)
	t.startLate = t.startLate && r.gap != nil
	return r.gap == nil
}

// runName stands for the id of a run of which nothing but its number is known.
func runName(run int32) string { return fmt.Sprintf("run-%d", run) }

// fillTries is how often something is tried that cannot be had any later.
const fillTries = 6

// insist tries until it works, will not work, or was tried often enough.
func insist(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == fillTries || finalFill(err) || sleep(ctx, fileRest) != nil {
			return err
		}
	}
}

// fillRun reads one run, that has ended, to its end.
func (t *target) fillRun(ctx context.Context, v *containerView, r *reading, run int32) bool {
	before := r.lines
	r.late = false
	err := insist(ctx, func() error {
		fr, err := t.openFiles(ctx, v, r, run)
		if err == nil {
			err = fr.start(ctx, true)
		}
		if err == nil {
			err = fr.toEnd(ctx)
		}
		return err
	})
	if err != nil {
		t.unfilled(ctx, v, err)
		return false
	}
	r.cur.file = filePos{}
	t.filled(r.lines - before)
	return true
}

// fillSkipped stores the lines of files that a follow has passed over: those that
// begin after the line at from and lie before the live file, which has the head.
// The position stays where it is. true means that nothing is missing.
func (t *target) fillSkipped(ctx context.Context, v *containerView, r *reading, from int64, live head) bool {
	if t.c.files == nil {
		return false
	}
	fr, err := t.openFiles(ctx, v, r, r.cur.restart)
	var files []nodefiles.File
	if err == nil {
		files, err = fr.list(ctx)
	}
	if err != nil {
		t.unfilled(ctx, v, err)
		return false
	}
	first, end, err := fr.skipped(ctx, files, from, live)
	if err != nil || first == end {
		return false
	}
	before := r.lines
	defer func(ts int64) { r.lastTS = ts }(r.lastTS)
	for _, f := range files[first:end] {
		if err := fr.whole(ctx, f); err != nil {
			t.unfilled(ctx, v, err)
			return false
		}
	}
	t.filled(r.lines - before)
	return first > 0 // else an older one may have been removed
}

// skipped are the files [first, end) that begin after from and before the live one.
func (fr *filesReader) skipped(ctx context.Context, files []nodefiles.File, from int64, live head) (first, end int, err error) {
	end = len(files)
	for first = end; first > 0; first-- {
		head, err := fr.ch.src.Head(ctx, fr.ch.dir, files[first-1])
		if err != nil {
			return 0, 0, err
		}
		ts, _, ok := nodefiles.ParseTimestamp(head)
		switch {
		case ok && ts <= from:
			return first, max(end, first), nil
		case !ok || ts >= live.ts:
			end = first - 1 // the live one, or newer
		}
	}
	return 0, end, nil
}

// whole stores the lines of one rotated file without moving the position.
func (fr *filesReader) whole(ctx context.Context, f nodefiles.File) error {
	body, err := fr.ch.src.Open(ctx, fr.ch.dir, f, 0)
	if err != nil {
		return err
	}
	defer body.Close()
	rd := nodefiles.NewReader(body, 0, fr.ch.max)
	defer rd.Close()
	fr.reset()
	var rec nodefiles.Record
	var line nodefiles.Line
	for {
		switch err := rd.Next(&rec); {
		case errors.Is(err, io.EOF):
			if !fr.shown.Flush(&line) {
				return nil
			}
		case err != nil:
			return err
		case !fr.shown.Add(&rec, &line):
			continue
		}
		raw := rawOf(&line)
		meta := labels.EmptyLabels()
		if raw.full > 0 {
			meta = labels.FromStrings(MetaTruncated, strconv.Itoa(raw.full))
		}
		if err := fr.r.store(&raw, meta); err != nil {
			return err
		}
	}
}

// recheck asks the node again after a request failed.
func (f *nodeFiles) recheck(ctx context.Context, v *containerView) error {
	n := f.node(v.node)
	n.probing.Lock()
	defer n.probing.Unlock()
	host, problem, _ := n.state(time.Now())
	if problem == nil && host != "" {
		f.probe(ctx, n, host)
		_, problem, _ = n.state(time.Now())
	}
	return problem
}
