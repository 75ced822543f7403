package podlogs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

const (
	// MarkPrefix begins the key of every mark of this package.
	MarkPrefix = "podlogs/"
	// labelsSuffix ends the key of the mark that holds a target's labels.
	labelsSuffix = "/labels"

	// positionVersion is that of positions in files of nodes; others are written
	// as version 1, which older collectors understand.
	positionVersion = 2
	labelsVersion   = 1
	// instanceIDLen is how much of a container id a position keeps: 48 bits,
	// what runtimes print for people.
	instanceIDLen = 12
	maxMarkString = 64 << 10
)

// targetKey names a target: one container of one pod. The uid and not the name
// is the identity, since a StatefulSet gives the same name to the next pod.
type targetKey struct {
	uid, container string
}

// mark is the key of the target's position in the store.
func (k targetKey) mark() string { return MarkPrefix + k.uid + "/" + k.container }

// labelsMark is the key of the target's labels in the store.
func (k targetKey) labelsMark() string { return k.mark() + labelsSuffix }

func (k targetKey) String() string { return k.uid + "/" + k.container }

// parseMarkKey is the inverse of mark and labelsMark. Names of containers have no
// slash, so what follows a second one tells the kind, also where the container is
// called "labels".
func parseMarkKey(s string) (k targetKey, isLabels, ok bool) {
	s, ok = strings.CutPrefix(s, MarkPrefix)
	if !ok {
		return k, false, false
	}
	k.uid, k.container, ok = strings.Cut(s, "/")
	if i := strings.IndexByte(k.container, '/'); i >= 0 {
		isLabels = k.container[i:] == labelsSuffix
		ok = ok && isLabels
		k.container = k.container[:i]
	}
	return k, isLabels, ok && k.uid != "" && k.container != ""
}

// anchor is the last committed line of an instance. Finding it again in a file
// proves that the file continues what has been stored.
type anchor struct {
	ts   int64
	hash uint64
	// ordinal counts lines with this ts and hash, from 1. CRI-O gives all lines
	// of one read buffer the same timestamp, so equal lines are usual there.
	ordinal uint32
}

// valid says whether any line has been committed.
func (a anchor) valid() bool { return a.ordinal > 0 }

// position is how far a target has been read and stored. The zero value is a
// target never read.
type position struct {
	// instance is the short container id, "" if none was ever read.
	instance string
	// restart is the instance's restart count.
	restart int32
	// done says that the instance has ended and was read to its end.
	done bool
	// last says, with done, that the container has no run after this one.
	last bool
	// taken says that the anchor was taken over from another replica: this one's
	// store does not hold the lines of the anchor's timestamp.
	taken  bool
	anchor anchor
	// file is where in the node's files that is, if they were read.
	file filePos
}

// filePos is a position in the files of a run on its node. The anchor beside it
// is the last line as the API shows it, so that either can be gone on from.
type filePos struct {
	// id is the fingerprint of the file to begin with, off the offset in it: that
	// of the oldest record which is needed again, because its line has not ended
	// or because it has the timestamp of the anchor.
	id  uint64
	off int64
	// seenID and seen are the end of what has been read: lines that end before it
	// are stored.
	seenID uint64
	seen   int64
	// split says that a line has begun whose beginning the API shows as part of
	// the anchor or of a line before it.
	split bool
}

func (f filePos) valid() bool { return f.id != 0 }

const (
	flagDone   = 1 << 0
	flagAnchor = 1 << 1
	flagLast   = 1 << 2
	// Since version 2.
	flagFile  = 1 << 3
	flagSplit = 1 << 4
	flagOther = 1 << 5 // seenID is not id
)

// encode writes the record that doc.go draws.
func (p *position) encode() []byte {
	b := make([]byte, 0, 80)
	version := byte(1)
	var flags byte
	if p.file.valid() {
		version, flags = positionVersion, flagFile
		if p.file.split {
			flags |= flagSplit
		}
		if p.file.seenID != p.file.id {
			flags |= flagOther
		}
	}
	if p.done {
		flags |= flagDone
	}
	if p.last {
		flags |= flagLast
	}
	if p.anchor.valid() {
		flags |= flagAnchor
	}
	b = append(b, version, flags)
	b = appendString(b, p.instance)
	b = binary.AppendUvarint(b, uint64(uint32(p.restart)))
	if p.anchor.valid() {
		b = binary.BigEndian.AppendUint64(b, uint64(p.anchor.ts))
		b = binary.BigEndian.AppendUint64(b, p.anchor.hash)
		b = binary.AppendUvarint(b, uint64(p.anchor.ordinal))
	}
	if p.file.valid() {
		b = p.file.append(b)
	}
	return b
}

func (f *filePos) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, f.id)
	b = binary.AppendUvarint(b, uint64(f.off))
	if f.seenID == f.id {
		return binary.AppendUvarint(b, uint64(f.seen-f.off))
	}
	b = binary.BigEndian.AppendUint64(b, f.seenID)
	return binary.AppendUvarint(b, uint64(f.seen))
}

// maxOffset bounds offsets, so that sums of two do not overflow.
const maxOffset = 1 << 60

func decodeFilePos(d *decoder, flags byte) filePos {
	f := filePos{id: d.u64(), off: int64(d.uvarint(maxOffset)), split: flags&flagSplit != 0}
	if flags&flagOther != 0 {
		f.seenID, f.seen = d.u64(), int64(d.uvarint(maxOffset))
	} else {
		f.seenID, f.seen = f.id, f.off+int64(d.uvarint(maxOffset))
	}
	if d.err == nil && (f.id == 0 || f.seenID == 0 || flags&flagOther != 0 && f.seenID == f.id) {
		d.err = errors.New("the file's fingerprint makes no sense")
	}
	return f
}

var errShortMark = errors.New("value is too short")

// decodePosition reads a mark. A version it does not know is an error: the
// caller then treats the target as never read.
func decodePosition(b []byte) (position, error) {
	var p position
	if len(b) < 2 {
		return p, errShortMark
	}
	known := byte(flagDone | flagAnchor | flagLast)
	switch b[0] {
	case 1:
	case positionVersion:
		known |= flagFile | flagSplit | flagOther
	default:
		return p, fmt.Errorf("position has version %d, this collector knows %d", b[0], positionVersion)
	}
	flags := b[1]
	if flags&^known != 0 || flags&flagFile == 0 && flags&(flagSplit|flagOther) != 0 {
		return p, fmt.Errorf("position has unknown flags %#x", flags)
	}
	d := decoder{b: b[2:]}
	p.done = flags&flagDone != 0
	p.last = flags&flagLast != 0
	p.instance = d.str()
	p.restart = int32(d.uvarint(1<<32 - 1))
	if flags&flagAnchor != 0 {
		p.anchor.ts = int64(d.u64())
		p.anchor.hash = d.u64()
		p.anchor.ordinal = uint32(d.uvarint(1<<32 - 1))
		if d.err == nil && p.anchor.ordinal == 0 {
			d.err = errors.New("anchor has ordinal 0")
		}
	}
	if flags&flagFile != 0 {
		p.file = decodeFilePos(&d, flags)
	}
	if err := d.end(); err != nil {
		return position{}, err
	}
	return p, nil
}

// encodeLabels keeps what a gap entry needs when the pod is already gone.
func encodeLabels(ls labels.Labels) []byte {
	b := []byte{labelsVersion}
	b = binary.AppendUvarint(b, uint64(ls.Len()))
	ls.Range(func(l labels.Label) {
		b = appendString(b, l.Name)
		b = appendString(b, l.Value)
	})
	return b
}

func decodeLabels(b []byte) (labels.Labels, error) {
	if len(b) < 2 {
		return labels.EmptyLabels(), errShortMark
	}
	if b[0] != labelsVersion {
		return labels.EmptyLabels(), fmt.Errorf("labels have version %d, this collector knows %d", b[0], labelsVersion)
	}
	d := decoder{b: b[1:]}
	var builder labels.ScratchBuilder
	for n := d.uvarint(1000); n > 0 && d.err == nil; n-- {
		name := d.str()
		builder.Add(name, d.str())
	}
	if err := d.end(); err != nil {
		return labels.EmptyLabels(), err
	}
	builder.Sort()
	ls := builder.Labels()
	if dup, is := ls.HasDuplicateLabelNames(); is {
		return labels.EmptyLabels(), fmt.Errorf("label %q occurs twice", dup)
	}
	return ls, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder reads fields one after the other and keeps the first error.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) uvarint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > limit {
		d.err = errors.New("a number is cut off or too large")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) u64() uint64 {
	if d.err == nil && len(d.b) < 8 {
		d.err = errShortMark
	}
	if d.err != nil {
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) str() string {
	n := d.uvarint(maxMarkString)
	if d.err == nil && uint64(len(d.b)) < n {
		d.err = errShortMark
	}
	if d.err != nil {
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.b))
	}
	return d.err
}

// shortID drops the runtime's name of "containerd://<hex>" and most of the hex.
func shortID(containerID string) string {
	if _, id, ok := strings.Cut(containerID, "://"); ok {
		containerID = id
	}
	if len(containerID) > instanceIDLen {
		containerID = containerID[:instanceIDLen]
	}
	return containerID
}
