package kubevents

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	// MarkPrefix begins the key of every mark of this package.
	MarkPrefix = "kubevents/"
	atPrefix   = MarkPrefix + "at/"
	seenPrefix = MarkPrefix + "seen/"

	markVersion   = 1
	maxMarkString = 4 << 10
)

// seen is the last occurrence of an event that is stored.
type seen struct {
	version   string // resource version
	namespace string // of the event object
	count     int32
	ts        int64
}

// place is how far a scope has been read and stored.
type place struct {
	// version is the resource version to watch from; "" is never listed.
	version string
	// contact is when everything up to version was known to be stored, in Unix
	// nanoseconds; 0 is never.
	contact int64
	// floor: an event that is not remembered has been stored if its resource
	// version is not newer. "" is no floor.
	floor string
}

// newer says whether resource version a comes after b. One that is no number,
// which the API does not allow, is newer than nothing.
func newer(a, b string) bool {
	if b == "" {
		return a != ""
	}
	c, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && c > 0
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

var errShort = errors.New("value is cut off")

func (d *decoder) header() {
	if len(d.b) == 0 {
		d.err = errShort
		return
	}
	if d.b[0] != markVersion {
		d.err = fmt.Errorf("value has version %d, this collector knows %d", d.b[0], markVersion)
		return
	}
	d.b = d.b[1:]
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.err = errShort
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.err = errShort
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) str() string {
	n := d.uvarint()
	if d.err == nil && (n > maxMarkString || uint64(len(d.b)) < n) {
		d.err = errShort
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

func (p place) encode() []byte {
	b := appendString([]byte{markVersion}, p.version)
	b = binary.AppendVarint(b, p.contact)
	return appendString(b, p.floor)
}

func decodePlace(b []byte) (place, error) {
	d := decoder{b: b}
	d.header()
	p := place{version: d.str(), contact: d.varint(), floor: d.str()}
	if err := d.end(); err != nil {
		return place{}, err
	}
	return p, nil
}

func (s seen) encode() []byte {
	b := appendString([]byte{markVersion}, s.version)
	b = appendString(b, s.namespace)
	b = binary.AppendUvarint(b, uint64(uint32(s.count)))
	return binary.AppendVarint(b, s.ts)
}

func decodeSeen(b []byte) (seen, error) {
	d := decoder{b: b}
	d.header()
	s := seen{version: d.str(), namespace: d.str()}
	count := d.uvarint()
	s.count, s.ts = int32(count), d.varint()
	if d.err == nil && count > 1<<32-1 {
		d.err = errors.New("count is too large")
	}
	if err := d.end(); err != nil {
		return seen{}, err
	}
	return s, nil
}

// advances says whether the event object shows an occurrence that is not stored.
//
// Objects come in the order of their resource versions, but old ones may come
// again. A new version alone is no occurrence: somebody may have edited the
// object. Should versions run backwards, as after a restored etcd, the time of
// the occurrence decides.
func (s *scope) advances(uid string, now seen) bool {
	old, known := s.seen[uid]
	if !known {
		return s.place.floor == "" || newer(now.version, s.place.floor)
	}
	if now.count == old.count && now.ts == old.ts {
		return false
	}
	return newer(now.version, old.version) || now.ts > old.ts
}

// forget makes room when more events are remembered than allowed: the oldest
// versions go, and the floor rises to them. It is called when everything up to
// the scope's version is stored.
func (s *scope) forget(limit int, batch *model.Batch) {
	if len(s.seen) <= limit {
		return
	}
	type old struct{ uid, version string }
	all := make([]old, 0, len(s.seen))
	for uid, e := range s.seen {
		if !newer(e.version, s.place.version) {
			all = append(all, old{uid, e.version})
		}
	}
	slices.SortFunc(all, func(a, b old) int {
		if c, err := resourceversion.CompareResourceVersion(a.version, b.version); err == nil && c != 0 {
			return c
		}
		return strings.Compare(a.uid, b.uid)
	})
	for _, e := range all[:min(len(all), len(s.seen)-limit*9/10)] {
		delete(s.seen, e.uid)
		batch.Marks = append(batch.Marks, model.Mark{Key: seenPrefix + e.uid})
		if newer(e.version, s.place.floor) {
			s.place.floor = e.version
		}
	}
}
