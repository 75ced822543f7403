package podlogs

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

// Reading files instead of the API (NodeFilesAll): nothing is followed, a file
// is asked for what lies behind the offset, sooner when it grows.
const (
	filePollFirst, filePollMax = time.Second, 15 * time.Second
	// fileBirth is how long after the start of a run its file may be missing.
	fileBirth = 15 * time.Second
	// fileRest is how long to wait for a file of an ended run to have been left
	// alone, restTries how often.
	fileRest  = time.Second
	restTries = 30
)

// viaFiles does a step by reading files; used is false if it is to be done with
// the API.
func (t *target) viaFiles(ctx context.Context, v *containerView, s step) (used bool, err error) {
	if !t.wantsFiles() {
		t.setSource(SourceAPI, nil)
		return t.leftFiles(ctx, v)
	}
	r := t.newReading(ctx, v)
	defer r.close()
	fr, err := t.openFiles(r.ctx, v, r, s.inst.restart)
	if err == nil {
		t.setSource(SourceFiles, nil)
		if s.do == doDrain {
			t.setState(StateDraining, "")
		} else {
			t.setState(StateCatchingUp, "")
		}
		err = fr.start(r.ctx, t.knownRun())
		switch {
		case err != nil:
		case s.do == doDrain:
			err = t.drainFiles(r.ctx, v, fr, s.previous)
		default:
			err = t.readFiles(r.ctx, v, fr, s.inst)
		}
	}
	if err == nil || ctx.Err() != nil || fr != nil && t.usable(ctx, v, s, err) {
		return true, errors.Join(err, r.finishQuietly())
	}
	t.fallBack(err)
	if fr != nil {
		if err := errors.Join(fr.leave(), r.wait()); err != nil {
			return true, err
		}
	}
	return false, nil
}

// wantsFiles says whether the target is to be read from files now.
func (t *target) wantsFiles() bool {
	f := t.c.files
	return f != nil && f.mode == NodeFilesAll && !time.Now().Before(t.noFilesUntil)
}

// filesBack says whether a target that is read from the API could be read from
// files.
func (t *target) filesBack(v *containerView) bool {
	if !t.wantsFiles() {
		return false
	}
	host, problem, due := t.c.files.node(v.node).state(time.Now())
	return host != "" && (problem == nil || due)
}

// leftFiles marks what a position in files holds and the API cannot show: the
// beginning of a line that another stream's line was written into.
func (t *target) leftFiles(ctx context.Context, v *containerView) (bool, error) {
	pos := t.position()
	if !pos.file.split {
		return false, nil
	}
	r := t.newReading(ctx, v)
	defer r.close()
	r.gap = nil
	r.addGap(gap{reason: GapUnavailable, from: pos.anchor.ts, to: pos.anchor.ts, container: pos.instance})
	return true, r.dropFilePos()
}

// usable says whether files are to be tried again after an error. If not, the API
// is to be used.
func (t *target) usable(ctx context.Context, v *containerView, s step, err error) bool {
	kind := nodefiles.KindOf(err)
	switch {
	case kind == nodefiles.KindBusy:
		return true
	case kind == nodefiles.KindNotFound:
		return t.missed(s)
	case kind == nodefiles.KindFormat, errors.Is(err, errUnproven):
		t.noFilesUntil = time.Now().Add(targetPenalty)
		return false
	case kind != "":
		// One bad answer is not the end of it: the node is asked again, and used
		// if it answers.
		return t.c.files.recheck(ctx, v) == nil
	}
	return true // as of the store, or of a connection
}

// fallBack notes that the target is read from the API, and why.
func (t *target) fallBack(err error) {
	reason := outcome(nodefiles.KindOf(err))
	switch {
	case errors.Is(err, errUnproven):
		reason = "unproven"
	case nodefiles.KindOf(err) == "":
		reason = string(nodefiles.KindFailed)
	}
	t.c.metrics.fileFallbacks.WithLabelValues(reason).Inc()
	t.setSource(SourceAPI, err)
	t.c.log.warn("files "+t.key.String(), "a container's log files cannot be read; its log comes from the API", "target", t.name(), "err", err)
}

// missed says of a file that is not there whether to look again: it may have
// been renamed a moment ago, or not exist yet.
func (t *target) missed(s step) bool {
	if s.do == doRead && time.Since(s.inst.started) < fileBirth {
		return true
	}
	if t.misses++; t.misses < 3 {
		return true
	}
	t.noFilesUntil, t.misses = time.Now().Add(targetPenalty), 0
	return false
}

// setSource notes where the target is read from, and why not from files.
func (t *target) setSource(s LogSource, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s == SourceAPI && why == nil && t.source == SourceAPI {
		return // the reason stands
	}
	t.source, t.sourceReason = s, ""
	if why != nil {
		t.sourceReason = firstWords(why.Error())
	}
}

// readFiles reads the files of a running container as they grow.
func (t *target) readFiles(ctx context.Context, v *containerView, fr *filesReader, inst instance) error {
	interval := filePollFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.back: // no slot to give back
			continue
		case <-t.changed:
			now, deleted := t.snapshot()
			if deleted || now.current.id != inst.id || now.current.finished {
				return errChanged
			}
			if now.terminating {
				interval = filePollFirst
				timer.Reset(interval / 2)
			}
			continue
		case <-timer.C:
		}
		before := fr.r.lines
		bytes := fr.r.bytes
		if err := errors.Join(fr.pass(ctx), fr.r.flush()); err != nil {
			return err
		}
		t.retry.reset()
		t.misses = 0
		if fr.r.lines > before {
			now := time.Now()
			t.lastData.Store(now.UnixNano())
			t.rate.add(fr.r.bytes-bytes, now)
			interval = filePollFirst
		} else {
			interval = min(interval*3/2, filePollMax)
		}
		t.setState(StatePolling, "")
		if fr.ch.more {
			interval = filePollFirst
		}
		timer.Reset(interval*8/10 + rand.N(interval*4/10))
	}
}

// drainFiles reads the files of an ended run to their end and marks it done.
func (t *target) drainFiles(ctx context.Context, v *containerView, fr *filesReader, previous bool) error {
	if err := fr.toEnd(ctx); err != nil {
		return err
	}
	r := fr.r
	if r.gap != nil {
		g := *r.gap
		g.to = endOfSecond(t.inst.ended)
		r.gap = nil
		r.addGap(g)
	}
	r.done, r.last = true, v.last && !previous
	r.cur.file = filePos{}
	t.failures = 0
	t.retry.reset()
	return r.end()
}

// toEnd reads until the live file has been left alone for a while, and takes
// what has no end.
func (fr *filesReader) toEnd(ctx context.Context) error {
	for tries := 0; ; tries++ {
		if err := errors.Join(fr.pass(ctx), fr.r.flush()); err != nil {
			return err
		}
		if !fr.ch.more && (fr.ch.rested || fr.ch.id == 0) {
			return fr.finish(ctx)
		}
		if tries == restTries {
			return errStillWritten
		}
		if err := sleep(ctx, fileRest); err != nil {
			return err
		}
	}
}

// errStillWritten says that somebody writes to the files of a run that ended.
var errStillWritten = errors.New("the files of an ended run are still written to")

// fileState is what a target knows about reading files.
type fileState struct {
	// source and sourceReason are guarded by the target's mutex.
	source       LogSource
	sourceReason string
	// noFilesUntil ends a time of reading from the API, misses counts files in a
	// row that were not there.
	noFilesUntil time.Time
	misses       int
	// past is the last stored line if it is not in the live file, see pastLive.
	past anchor
}
