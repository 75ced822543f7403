package podlogs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

// MetaStream is the structured metadata that names the stream of a line,
// "stdout" or "stderr", where the node's files are read (NodeFilesAll): the API
// does not tell. As a label it would double the streams, and a line would belong
// to another stream whenever a node's files can be read or not.
const MetaStream = "stream"

var streamMeta = [2]labels.Labels{
	nodefiles.Stdout: labels.FromStrings(MetaStream, nodefiles.Stdout.String()),
	nodefiles.Stderr: labels.FromStrings(MetaStream, nodefiles.Stderr.String()),
}

// errUnproven says that the files ought to have the last stored line and do not:
// nothing in them proves what is stored.
var errUnproven = errors.New("the last stored line is not in the files of its time")

// spot is a byte of a file.
type spot struct {
	file uint64
	off  int64
}

// older says whether p was written before o, both while current is being read.
func (p spot) older(o spot, current uint64) bool {
	if p.file == o.file {
		return p.off < o.off
	}
	return o.file == current
}

// filesReader stores the lines of one run's files, from the position of a
// reading on.
type filesReader struct {
	t  *target
	r  *reading
	ch chain
	// perStream says that lines are stored as the container wrote them. Else they
	// are stored as the API shows them, which splices what the two streams write
	// at the same time.
	perStream bool
	lines     nodefiles.Joiner // of the streams
	shown     nodefiles.Joiner // by the API
	// find is set as long as the anchor has not been met.
	find *finder
	// held are the lines of the anchor's timestamp, see heldGroup.
	held heldGroup
	// dropping says that lines are stored already, up to seen.
	dropping, reached bool
	seen              spot
	// group is the first record with the timestamp groupTS, that of the anchor.
	group   spot
	groupTS int64
	// last is the file in which the last line that the API shows begins.
	last uint64
}

// openFiles prepares reading the files of one run.
func (t *target) openFiles(ctx context.Context, v *containerView, r *reading, run int32) (*filesReader, error) {
	files := t.c.files
	d, err := files.dir(ctx, v)
	if err != nil {
		return nil, err
	}
	limit := t.c.opts.MaxLineBytes
	return &filesReader{
		// What was read per stream goes on so, whatever the mode is now.
		t: t, r: r, perStream: files.mode == NodeFilesAll || r.cur.file.valid(),
		ch:    chain{src: files.src, dir: d, run: run, max: limit},
		lines: nodefiles.Joiner{Max: limit},
		shown: nodefiles.Joiner{Max: limit, Shared: true},
	}, nil
}

// start goes to the position. known says that the run is to be read from its
// oldest file, if nothing of it is stored.
func (fr *filesReader) start(ctx context.Context, known bool) error {
	pos := fr.r.cur.position
	switch want := fr.want(); {
	case pos.file.valid() && (!pos.taken || pos.file.split):
		return fr.resume(ctx, pos.file)
	case want.valid():
		err := fr.seek(ctx, want)
		if !errors.Is(err, errUnproven) || pos.anchor.valid() {
			return err
		}
	}
	files, err := fr.list(ctx)
	if err != nil {
		return err
	}
	fr.find = nil
	fr.reset()
	fr.t.carry = anchor{}
	fr.r.late = fr.r.late && fr.t.c.files.node(fr.ch.dir.Node).lacks(len(files))
	first := files[0]
	if last := files[len(files)-1]; !known && last.Live() {
		first = last
		if n := len(files); n > 1 {
			fr.ch.after = files[n-2].Stamp
		}
	}
	return fr.ch.begin(ctx, first)
}

// want is the line to go on from.
func (fr *filesReader) want() anchor {
	if a := fr.r.cur.anchor; a.valid() {
		return a
	}
	return fr.t.carry
}

// list returns the files of the run, of which there is one at least.
func (fr *filesReader) list(ctx context.Context) ([]nodefiles.File, error) {
	files, err := fr.ch.list(ctx)
	if err == nil && len(files) == 0 {
		err = nodefiles.NotFound(fmt.Sprintf("node %s has no log file of run %d of the container", fr.ch.dir.Node, fr.ch.run))
	}
	return files, err
}

// reset forgets lines that were begun.
func (fr *filesReader) reset() {
	fr.lines.Reset()
	fr.shown.Reset()
	fr.dropping, fr.reached, fr.groupTS = false, false, 0
}

// resume goes to a position in files.
func (fr *filesReader) resume(ctx context.Context, p filePos) error {
	err := fr.ch.locate(ctx, p.id)
	if errors.Is(err, errFileGone) && p.seenID != p.id {
		// The beginning of a line went with its file, which cannot be known here
		// to be all: it is marked.
		if err = fr.ch.locate(ctx, p.seenID); err == nil {
			fr.ch.off = p.seen
			if p.split {
				fr.lostFrom()
			}
			return nil
		}
	}
	if errors.Is(err, errFileGone) {
		return fr.lost(ctx)
	}
	if err != nil {
		return err
	}
	fr.ch.off = p.off
	fr.dropping, fr.seen = true, spot{p.seenID, p.seen}
	return nil
}

// lostFrom marks that what follows the position may be missing.
func (fr *filesReader) lostFrom() {
	r := fr.r
	if r.gap == nil {
		r.gap = &gap{reason: GapRotatedAway, from: r.cur.anchor.ts, container: r.cur.instance}
		fr.t.gap = r.gap
	}
}

// lost goes on with the oldest file, behind a gap.
func (fr *filesReader) lost(ctx context.Context) error {
	files, err := fr.list(ctx)
	if err != nil {
		return err
	}
	fr.lostFrom()
	fr.find = nil
	fr.reset()
	fr.ch.after = ""
	return fr.ch.begin(ctx, files[0])
}

// seek reads the files until the line is found, and what follows it.
func (fr *filesReader) seek(ctx context.Context, want anchor) error {
	files, err := fr.list(ctx)
	if err != nil {
		return err
	}
	from, oldest, err := fr.candidates(ctx, files, want)
	if err != nil {
		return err
	}
	starts := []int{from}
	if from > 0 {
		starts = append(starts, 0) // the clock went back
	}
	for _, i := range starts {
		fr.find = &finder{want: want}
		fr.held = heldGroup{on: fr.r.cur.taken && fr.r.cur.anchor == want, ts: want.ts}
		fr.reset()
		if err := fr.ch.begin(ctx, files[i]); err != nil {
			return err
		}
		if err := fr.ch.pass(ctx, fr.record); err != nil {
			return err
		}
		if fr.find == nil {
			return nil
		}
	}
	if oldest <= want.ts || !fr.r.cur.anchor.valid() {
		return errUnproven
	}
	return fr.lost(ctx)
}

// candidates returns the newest file that begins before the line, and the time
// with which the oldest file begins.
func (fr *filesReader) candidates(ctx context.Context, files []nodefiles.File, want anchor) (from int, oldest int64, err error) {
	for i, f := range slices.Backward(files) {
		head, err := fr.ch.src.Head(ctx, fr.ch.dir, f)
		if err != nil {
			return 0, 0, err
		}
		ts, _, ok := nodefiles.ParseTimestamp(head)
		if !ok {
			continue // empty
		}
		if oldest = ts; from == 0 && ts < want.ts {
			from = i
		}
	}
	return from, oldest, nil
}

// pass reads what there is. A file that is gone leaves a gap.
func (fr *filesReader) pass(ctx context.Context) error {
	bad := fr.ch.bad
	err := fr.ch.pass(ctx, fr.record)
	if errors.Is(err, errFileGone) {
		if err = fr.lost(ctx); err == nil {
			err = fr.ch.pass(ctx, fr.record)
		}
	}
	fr.t.c.metrics.unparsed.Add(float64(fr.ch.bad - bad))
	return err
}

// record takes the next record of the chain.
func (fr *filesReader) record(rec *nodefiles.Record) error {
	id := fr.ch.id
	fr.lines.File, fr.shown.File = id, id
	if fr.find == nil && fr.perStream {
		return fr.streamRecord(rec)
	}
	var line nodefiles.Line
	if !fr.shown.Add(rec, &line) {
		return nil
	}
	raw := rawOf(&line)
	fr.see(&line)
	if fr.find == nil {
		return fr.r.accept(&raw)
	}
	if err := fr.held.add(fr.r, &raw); err != nil {
		return err
	}
	if fr.find.is(&raw) {
		if err := fr.held.accept(fr.r); err != nil {
			return err
		}
		fr.r.lastTS = raw.ts
		fr.r.cur.anchor, fr.r.cur.ord = fr.find.want, fr.find.ord
		fr.r.gap, fr.t.gap, fr.t.carry = nil, nil, anchor{}
		fr.find = nil
		fr.at(rec)
	}
	fr.t.c.metrics.duplicates.Inc()
	return nil
}

// see notes where the lines of one timestamp begin.
func (fr *filesReader) see(line *nodefiles.Line) {
	if fr.groupTS != line.Time || fr.group.file == 0 {
		fr.groupTS, fr.group = line.Time, spot{line.File, line.Off}
	}
	fr.last = line.File
}

// streamRecord stores lines as the streams have them, and moves the anchor as
// the API shows them.
func (fr *filesReader) streamRecord(rec *nodefiles.Record) error {
	if fr.dropping {
		here := fr.ch.id == fr.seen.file
		fr.reached = fr.reached || here
		fr.dropping = here && rec.Off < fr.seen.off || !fr.reached
	}
	plain := !rec.Partial && fr.lines.Idle() && fr.shown.Idle()
	var line, shown nodefiles.Line
	ended := fr.lines.Add(rec, &line)
	raw := rawLine{}
	if ended {
		raw = rawOf(&line)
		if !fr.dropping {
			if err := fr.r.put(&raw, line.Stream); err != nil {
				return err
			}
		}
	}
	if plain {
		fr.show(&line, &raw)
	} else if fr.shown.Add(rec, &shown) {
		raw = rawOf(&shown)
		fr.show(&shown, &raw)
	}
	if !fr.dropping {
		fr.at(rec)
	}
	return nil
}

// show moves the anchor to a line as the API shows it.
func (fr *filesReader) show(line *nodefiles.Line, raw *rawLine) {
	fr.see(line)
	cur := &fr.r.cur
	n := cur.ord.next(raw.ts, raw.hash)
	if !fr.dropping {
		cur.taken = false
		cur.anchor = anchor{ts: raw.ts, hash: raw.hash, ordinal: n}
	}
}

// at makes the position that behind the record.
func (fr *filesReader) at(rec *nodefiles.Record) {
	if !fr.perStream {
		return
	}
	id := fr.ch.id
	from := spot{id, rec.End}
	if fr.group.file != 0 && fr.group.older(from, id) {
		from = fr.group
	}
	split := false
	if file, off, open := fr.lines.Oldest(); open {
		begun := spot{file, off}
		if begun.older(from, id) {
			from = begun
		}
		sf, so, shownOpen := fr.shown.Oldest()
		split = !shownOpen || begun != spot{sf, so}
	}
	fr.r.cur.file = filePos{id: from.file, off: from.off, seenID: id, seen: rec.End, split: split}
}

// finish takes what a run that has ended wrote without an end: a record cut
// short, and lines whose last part never came.
func (fr *filesReader) finish(ctx context.Context) error {
	if err := fr.ch.last(ctx, fr.record); err != nil {
		return err
	}
	var line nodefiles.Line
	for fr.perStream && fr.lines.Flush(&line) {
		raw := rawOf(&line)
		if err := fr.r.put(&raw, line.Stream); err != nil {
			return err
		}
	}
	for fr.find == nil && fr.shown.Flush(&line) {
		raw := rawOf(&line)
		if fr.perStream {
			fr.show(&line, &raw)
			continue
		}
		if err := fr.r.accept(&raw); err != nil {
			return err
		}
	}
	return nil
}

// leave prepares going on with the API. Lines of which the API would show the
// end alone are stored as they are; the others it shows whole.
func (fr *filesReader) leave() error {
	r := fr.r
	var line nodefiles.Line
	for r.cur.file.split && fr.lines.Flush(&line) {
		raw := rawOf(&line)
		if err := r.put(&raw, line.Stream); err != nil {
			return err
		}
	}
	return r.dropFilePos()
}

// dropFilePos forgets where in the files the position is.
func (r *reading) dropFilePos() error {
	if r.cur.file.valid() {
		r.cur.file = filePos{}
		if r.piece == nil {
			r.piece = newPiece(0)
		}
	}
	return r.finishQuietly()
}

func rawOf(line *nodefiles.Line) rawLine {
	return rawLine{ts: line.Time, text: line.Text, stamped: true, full: line.Full, hash: xxhash.Sum64(line.Text)}
}

// put stores a line of one stream. The position is the caller's to move.
func (r *reading) put(line *rawLine, stream nodefiles.Stream) error {
	meta := streamMeta[stream]
	if line.full > 0 {
		meta = labels.FromStrings(MetaTruncated, strconv.Itoa(line.full), MetaStream, stream.String())
	}
	return r.store(line, meta)
}
