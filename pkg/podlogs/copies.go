package podlogs

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// copyPrefix begins the keys of marks with positions of other replicas' targets.
const copyPrefix = "podlogs-copy/"

const (
	copyVersion = 1
	copyLate    = 1 << 0

	// sharedVersion begins a position with an epoch. Positions without one have
	// small versions.
	sharedVersion = 0x81
	sharedTaken   = 1 << 0
)

// encodeShared writes the record that doc.go draws; without an epoch it is the
// position alone.
func (p *position) encodeShared(epoch int64) []byte {
	if epoch == 0 && !p.taken {
		return p.encode()
	}
	var flags byte
	if p.taken {
		flags |= sharedTaken
	}
	b := append(make([]byte, 0, 64), sharedVersion, flags)
	b = binary.AppendUvarint(b, uint64(max(epoch, 0)))
	return append(b, p.encode()...)
}

// decodeShared is the inverse of encodeShared.
func decodeShared(b []byte) (p position, epoch int64, err error) {
	if len(b) < 2 || b[0] != sharedVersion {
		p, err = decodePosition(b)
		return p, 0, err
	}
	flags := b[1]
	if flags&^sharedTaken != 0 {
		return p, 0, fmt.Errorf("shared position has unknown flags %#x", flags)
	}
	d := decoder{b: b[2:]}
	epoch = int64(d.uvarint(1<<63 - 1))
	if d.err != nil {
		return p, 0, d.err
	}
	p, err = decodePosition(d.b)
	p.taken = flags&sharedTaken != 0
	return p, epoch, err
}

// copied is another replica's position, kept for the case that it dies.
type copied struct {
	origin string // who reads it, as far as we know
	node   string
	stamp  int64
	// emptyAt is when the run's log was last known to be empty, 0 if it was not or
	// lines of it are stored, in Unix milliseconds of the reader's clock as stamp is.
	emptyAt int64
	late    bool
	// position and labels are the values of the target's marks. Labels may be
	// nil if they have not been told.
	position, labels []byte
	// through is this replica's own position when it gave the target away, nil if
	// it never read it: what its store holds already.
	through []byte
}

func (k targetKey) copyMark() string       { return copyPrefix + k.uid + "/" + k.container }
func (k targetKey) copyLabelsMark() string { return k.copyMark() + labelsSuffix }

// parseCopyKey is the inverse of copyMark and copyLabelsMark.
func parseCopyKey(s string) (k targetKey, isLabels, ok bool) {
	s, ok = strings.CutPrefix(s, copyPrefix)
	if !ok {
		return k, false, false
	}
	return parseMarkKey(MarkPrefix + s)
}

// encode writes the record that doc.go draws.
func (c *copied) encode() []byte {
	b := make([]byte, 0, 16+len(c.origin)+len(c.node)+len(c.position))
	var flags byte
	if c.late {
		flags |= copyLate
	}
	b = append(b, copyVersion, flags)
	b = appendString(b, c.origin)
	b = appendString(b, c.node)
	b = binary.AppendUvarint(b, uint64(max(c.stamp, 0)))
	b = binary.AppendUvarint(b, uint64(max(c.emptyAt, 0)))
	b = appendString(b, string(c.position))
	return appendString(b, string(c.through))
}

func decodeCopy(b []byte) (copied, error) {
	if len(b) < 2 {
		return copied{}, errShortMark
	}
	if b[0] != copyVersion {
		return copied{}, fmt.Errorf("copy has version %d, this collector knows %d", b[0], copyVersion)
	}
	if b[1]&^copyLate != 0 {
		return copied{}, fmt.Errorf("copy has unknown flags %#x", b[1])
	}
	c := copied{late: b[1]&copyLate != 0}
	d := decoder{b: b[2:]}
	c.origin, c.node = d.str(), d.str()
	c.stamp, c.emptyAt = int64(d.uvarint(1<<63-1)), int64(d.uvarint(1<<63-1))
	c.position, c.through = []byte(d.str()), []byte(d.str())
	err := d.end()
	if err == nil {
		_, _, err = decodeShared(c.position)
	}
	if err == nil && len(c.through) > 0 {
		_, _, err = decodeShared(c.through)
	}
	if err != nil {
		return copied{}, err
	}
	return c, nil
}

// marks puts the copy into a batch.
func (c *copied) marks(k targetKey, b *model.Batch) {
	b.Marks = append(b.Marks, model.Mark{Key: k.copyMark(), Value: c.encode()})
	if c.labels != nil {
		b.Marks = append(b.Marks, model.Mark{Key: k.copyLabelsMark(), Value: c.labels})
	}
}

// dropCopy removes a copy in a batch.
func dropCopy(k targetKey, b *model.Batch) {
	b.Marks = append(b.Marks, model.Mark{Key: k.copyMark()}, model.Mark{Key: k.copyLabelsMark()})
}

// dropOwn removes a target's position in a batch.
func dropOwn(k targetKey, b *model.Batch) {
	b.Marks = append(b.Marks, model.Mark{Key: k.mark()}, model.Mark{Key: k.labelsMark()})
}

// held tells the copy to who asks for it.
func (c *copied) held(k targetKey, now time.Time) Held {
	h := Held{
		UID: k.uid, Node: c.node, Container: k.container, Position: c.position, Labels: c.labels,
		Stamp: c.stamp, Empty: c.emptyAt > 0, Late: c.late,
	}
	if h.Empty {
		h.EmptyMillis = max(now.UnixMilli()-c.emptyAt, 0)
	}
	return h
}

// load reads the copies of an earlier run.
func (s *sharing) load() {
	labels := make(map[targetKey][]byte)
	for key, value := range s.c.opts.Marks.Marks(copyPrefix) {
		k, isLabels, ok := parseCopyKey(key)
		if !ok {
			continue
		}
		if isLabels {
			labels[k] = value
			continue
		}
		c, err := decodeCopy(value)
		if err != nil {
			s.c.opts.Logger.Error("the copy of another replica's position cannot be read; it is not used", "mark", key, "err", err)
			continue
		}
		s.setCopy(k, c)
	}
	for k, l := range labels {
		if c, ok := s.copies[k.uid][k.container]; ok {
			c.labels = l
			s.setCopy(k, c)
		}
	}
	s.loaded = true
}

// setCopy keeps a copy in memory. The lock is held.
func (s *sharing) setCopy(k targetKey, c copied) {
	if s.copies[k.uid] == nil {
		s.copies[k.uid] = make(map[string]copied)
	}
	s.copies[k.uid][k.container] = c
}

// removeCopy forgets a copy in memory. The lock is held.
func (s *sharing) removeCopy(k targetKey) {
	delete(s.copies[k.uid], k.container)
	if len(s.copies[k.uid]) == 0 {
		delete(s.copies, k.uid)
	}
}
