package peers

import (
	"github.com/prometheus/prometheus/model/labels"
)

// streamTable numbers the streams of several sources.
type streamTable struct {
	byHash map[uint64][]uint32
	labels []labels.Labels
}

// id returns the number of a stream, a new one if need be.
func (t *streamTable) id(ls labels.Labels) uint32 {
	h := ls.Hash()
	if i, ok := t.find(h, ls); ok {
		return i
	}
	if t.byHash == nil {
		t.byHash = map[uint64][]uint32{}
	}
	i := uint32(len(t.labels))
	t.byHash[h] = append(t.byHash[h], i)
	t.labels = append(t.labels, ls)
	return i
}

func (t *streamTable) find(h uint64, ls labels.Labels) (uint32, bool) {
	for _, i := range t.byHash[h] {
		if labels.Equal(t.labels[i], ls) {
			return i, true
		}
	}
	return 0, false
}

// has says whether a stream has a number.
func (t *streamTable) has(ls labels.Labels) bool {
	_, ok := t.find(ls.Hash(), ls)
	return ok
}

// translation maps the stream numbers of one source to those of a table.
type translation struct{ ids []uint32 }

// grow takes in the streams that the source has added.
func (x *translation) grow(t *streamTable, streams []labels.Labels) {
	for _, ls := range streams[min(len(x.ids), len(streams)):] {
		x.ids = append(x.ids, t.id(ls))
	}
}
