package podlogs

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// What a rotation does to a follow, and what is done about it (the letters are
// those of docs/podlogs.md):
//
//	R1  the follow stays on the old file      it is silent while the live file
//	    (always, with kubelets before 1.29)   grows: probe finds that, handOver
//	                                          reads the old file to its end first
//	R2  two rotations while it was stalled    its lines come late: pace, and the
//	    lose the file between                 file is read without following
//	R3  the file is renamed away and back     it begins with its head again:
//	                                          recent, and head tells R3 from R2
//	R4  a line goes into the old file after   nobody can know; it is counted
//	    the new one exists
const (
	// lagLimit is how late a line of a follow may be, measured against the most
	// punctual one, before the follow is closed and the file read without
	// following. Two rotations lie 10 seconds apart by default: a follow that was
	// stalled over both of them shows at least that.
	lagLimit = rotationInterval - 2*time.Second
	// swapTime is how long after a rotation the runtime may still write to the
	// old file.
	swapTime = 3 * time.Second
	// headBytes is how much of the beginning of a file identifies it.
	headBytes = 256
	// headInterval is the least time between two looks at the head of a file.
	headInterval = 3 * time.Second
	// fileMax is the kubelet's default containerLogMaxSize: what a file may grow
	// to until something else has been seen. A tenth of it, within bounds, is
	// what a follow may deliver between two looks at the head. recordRoom is what a
	// record takes besides its text.
	recordRoom                  = 45
	fileMax                     = 10 << 20
	headStepLeast, headStepMost = 64 << 10, 1 << 20
)

// errLagging ends a follow whose lines come late.
var errLagging = errors.New("the follow is behind: two rotations in that time would lose a file unseen")

// errRotatedMeanwhile ends a read of a file that took the place of the one which
// was shown to continue what is stored.
var errRotatedMeanwhile = errors.New("the log was rotated while it was looked at")

// errSkipped ends a follow that went past the file after its own.
var errSkipped = errors.New("the follow skipped a rotated file")

// pace measures how late the lines of a stream are. The clocks of node and
// collector may differ, so the most punctual line counts as in time.
type pace struct {
	least time.Duration
	set   bool
}

// late says whether the line is later than the limit.
func (p *pace) late(ts int64, now time.Time) bool {
	behind := time.Duration(now.UnixNano() - ts)
	if !p.set || behind < p.least {
		p.least, p.set = behind, true
	}
	return behind-p.least > lagLimit
}

// head is what identifies a file: the beginning of its first line.
type head struct {
	ts   int64
	text string
	// cut says that the line is longer than text.
	cut bool
}

func (h head) known() bool { return h.ts != 0 }

func newHead(ts int64, text []byte) head {
	h := head{ts: ts}
	if len(text) > headBytes/2 {
		text, h.cut = text[:headBytes/2], true
	}
	h.text = string(text)
	return h
}

// begins says whether the line can be the file's first.
func (h head) begins(ts int64, text []byte) bool {
	if ts != h.ts {
		return false
	}
	if h.cut {
		return bytes.HasPrefix(text, []byte(h.text))
	}
	return string(text) == h.text
}

// same compares heads of which either may be cut at another place.
func (h head) same(o head) bool {
	if h.ts != o.ts {
		return false
	}
	switch {
	case h.cut && o.cut:
		n := min(len(h.text), len(o.text))
		return h.text[:n] == o.text[:n]
	case h.cut:
		return strings.HasPrefix(o.text, h.text)
	case o.cut:
		return strings.HasPrefix(h.text, o.text)
	}
	return h.text == o.text
}

// probeHead returns the beginning of the live file, an unknown one if the file
// is empty.
func (t *target) probeHead(ctx context.Context, v *containerView) (head, error) {
	limit := int64(headBytes)
	end, err := t.scan(ctx, v, "probe", &corev1.PodLogOptions{LimitBytes: &limit}, func(*rawLine) error { return nil })
	switch {
	case err != nil || end.any:
		return end.head, err
	case end.hasTail && end.tail.stamped:
		h := newHead(end.tail.ts, []byte(end.tail.text))
		h.cut = true
		return h, nil
	}
	return head{}, end.inbandTail()
}

// handover says that a follow has read the file that ends with the anchor to its
// end, after the file with this head had taken its place.
type handover struct {
	after anchor
	head  head
}

// proves says that the file that begins with h comes right after the anchor.
func (o handover) proves(after anchor, h head) bool {
	return o.after.valid() && o.after == after && o.head.same(h)
}

// handOver ends a follow that does not deliver what the live file holds. If that
// is because it stays on the file before, it is left there as long as the runtime
// may write to that file: all of it has been read then, and nothing is missing
// before the first line of the live one.
func (f *follower) handOver(ctx context.Context) error {
	t := f.t
	h, err := t.probeHead(ctx, f.view)
	if err != nil || !h.known() {
		return errStuck
	}
	f.turn.Lock()
	age := time.Duration(time.Now().UnixNano()-h.ts) - f.s.pace.least
	fresh := f.r.cur.anchor.valid() && h.ts > f.r.cur.anchor.ts
	if fresh {
		f.s.fence = h
	}
	f.turn.Unlock()
	if !fresh {
		return errStuck // it is the follow's own file
	}
	if f.pause(ctx, min(max(swapTime-age, 0), swapTime)) != nil {
		return nil //nolint:nilerr // the follow has ended by itself
	}
	f.turn.Lock()
	passed := !f.s.fence.known()
	f.turn.Unlock()
	if passed {
		return nil // it was only late
	}
	f.s.stop(errStuck)
	if !errors.Is(f.s.err, errStuck) {
		return nil
	}
	f.turn.Lock()
	t.handed = handover{after: f.r.cur.anchor, head: h}
	f.turn.Unlock()
	t.c.metrics.rotations.Inc()
	if f.mature {
		t.c.limits.staysOnRotated(f.view.node)
	}
	return errStuck
}

// emptyLooks is how often a file must be found empty to be believed: an answer
// without a byte may also come from a kubelet that has just died.
const emptyLooks = 2

// sawEmpty notes that the live file is empty while the follow is silent: the file
// before it has been read to its end, and this one will be new from its first line.
func (f *follower) sawEmpty() {
	f.turn.Lock()
	defer f.turn.Unlock()
	if a := f.r.cur.anchor; f.emptyAfter != a {
		f.emptyAfter, f.empties = a, 0
	}
	f.empties++
}

// keepEmpty is called when the follow has ended: until then it would have
// delivered what came into the empty file.
func (f *follower) keepEmpty() {
	if f.empties >= emptyLooks && f.emptyAfter == f.r.cur.anchor {
		f.t.fresh, f.t.freshAt = f.emptyAfter, time.Now()
	}
}

// continues says whether the live file, which does not hold the last line read,
// is known to come right after it. It uses up what is known.
func (t *target) continues(last anchor, end ending) bool {
	proven := t.handed.proves(last, end.head)
	t.handed = handover{}
	if !proven && last.valid() && t.fresh == last && time.Since(t.freshAt) < emptyLapse {
		proven = true
		if !end.any {
			t.freshAt = time.Now()
		}
	}
	return proven
}

// headStep is how much a follow may deliver between two looks at the head.
func (t *target) headStep() int64 {
	return min(max(t.fileMax/10, headStepLeast), headStepMost)
}

// checkHead looks whether the file was rotated since the last look.
func (f *follower) checkHead(ctx context.Context) {
	t := f.t
	f.turn.Lock()
	before := f.r.cur.anchor.ts
	f.turn.Unlock()
	f.s.unchecked.Store(0)
	h, err := t.probeHead(ctx, f.view)
	if err != nil || !h.known() {
		return // the next step comes soon
	}
	f.turn.Lock()
	defer f.turn.Unlock()
	if t.head.known() && !t.head.same(h) {
		t.c.metrics.rotations.Inc()
		t.c.metrics.unverified.Inc()
		t.fileMax = max(t.sinceHead, headStepLeast)
		t.sinceHead = 0
	}
	t.head, f.checked = h, before
}

// rewound looks at a follow that began a file again. A file that was renamed
// away and back is the one that was being read. Another one was sent twice
// because two rotations were waiting, and what lay between them was passed over.
func (f *follower) rewound(ctx context.Context) {
	t, s := f.t, f.s
	h, err := t.probeHead(ctx, f.view)
	if err != nil || !t.head.known() || !h.begins(s.again.ts, []byte(s.again.text)) || t.head.same(h) {
		return
	}
	from := s.recent.before(s.again.ts, s.again.hash)
	if from == 0 {
		from = f.checked
	}
	if !t.fillSkipped(ctx, f.view, f.r, from, h) {
		f.r.addGap(gap{reason: GapRotatedAway, from: from, to: h.ts, container: f.r.cur.instance})
	}
	t.head = h
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
