package chunk

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// An identifier filter answers for one chunk block whether an identifier can be
// in its lines, without reading any of it. It knows the beginnings of tokens:
//
//	token  a maximal run of ASCII letters and digits of a line, 8 or longer, with
//	       a digit; not one behind a point that is up to 9 digits, possibly with a Z
//	       (the fraction of a second), up to 9 long
//	key    its first 8 bytes
//
// A needle that holds the beginning of a token, and the byte before it, has its
// key. One that is itself as long as the longest token can only be a whole one.
// So the filter never causes a miss: each decision follows from bytes of the
// needle alone. Words without digits are looked for in the texts, see Search in
// the package comment.
//
//	+---------+---------+----------+------------+
//	| scheme 1| longest | hashes 1 | bits ...   |
//	| (=1)    | 1       | (=6)     |            |
//	+---------+---------+----------+------------+
//
//	longest  length of the longest run of letters and digits with a digit, at
//	         most 255, which stands for any above
//	bits     a Bloom filter of 10 bits per different key: bit (h1 + i h2) m >> 32
//	         for i < hashes, m the number of bits, h1 and h2 the halves of mix
//	         (key as a little endian number), h2 odd; low bits of a byte first
//
// Without tokens there are no bits: nothing that has a key can be there.
const (
	idScheme    = 1
	idKeyLen    = 8
	idHashes    = 6
	idBits      = 10
	idHeader    = 3
	idLongest   = 255
	idFraction  = 9
	maxIDFilter = 8 << 20
)

// IDFilterBuilder makes identifier filters. It is used by one goroutine; the zero
// value is ready.
type IDFilterBuilder struct {
	keys  []uint64
	slots []uint64 // a hash table of keys, 0 is free
	masks []uint64 // of a line, see mask
}

// Append appends the filter of the lines to dst.
func (f *IDFilterBuilder) Append(dst []byte, lines []string) []byte {
	f.keys = f.keys[:0]
	longest := 0
	for _, l := range lines {
		longest = f.addLine(l, longest)
	}
	f.unique()
	dst = append(dst, idScheme, byte(min(longest, idLongest)), idHashes)
	if len(f.keys) == 0 {
		return dst
	}
	size := min((len(f.keys)*idBits+7)/8, maxIDFilter)
	start := len(dst)
	dst = slices.Grow(dst, size)[:start+size]
	filter := dst[start:]
	clear(filter)
	m := uint64(size) * 8
	for _, h := range f.keys {
		h1, h2 := uint32(h), uint32(h>>32)|1
		for range idHashes {
			bit := uint64(h1) * m >> 32
			filter[bit>>3] |= 1 << (bit & 7)
			h1 += h2
		}
	}
	return dst
}

// addLine adds the hashes of a line's keys and returns the longest token so far.
func (f *IDFilterBuilder) addLine(l string, longest int) int {
	// The longest of the short tokens matters only when there is no long one, so it
	// is not looked for: idKeyLen-1 stands for all of them.
	longest = max(longest, idKeyLen-1)
	if len(l) < idKeyLen {
		return longest
	}
	f.mask(l)
	before := uint64(0) // the bit of the byte before the word at hand
	for w, m := range f.masks[:len(f.masks)-1] {
		// Bits at which 8 letters and digits begin, then those of them behind
		// something else: there a token begins.
		n := f.masks[w+1]
		r, rn := m&(m>>1|n<<63), n&(n>>1)
		r, rn = r&(r>>2|rn<<62), rn&(rn>>2)
		r &= r>>4 | rn<<60
		r &^= m<<1 | before
		before = m >> 63
		for ; r != 0; r &= r - 1 {
			i := w<<6 + bits.TrailingZeros64(r)
			end := i + idKeyLen
			for end < len(l) && class[l[end]]&(clsAlpha|clsDigit) != 0 {
				end++
			}
			if t := l[i:end]; hasDigit(t) {
				longest = max(longest, len(t))
				if i == 0 || l[i-1] != '.' || !isFraction(t) {
					f.keys = append(f.keys, idHash(t))
				}
			}
		}
	}
	return longest
}

// mask sets f.masks to a bit per byte of the line, set for letters and digits, and
// a word of zeros behind them.
func (f *IDFilterBuilder) mask(l string) {
	f.masks = f.masks[:0]
	word, shift := uint64(0), 0
	b := []byte(l[:len(l)&^7])
	for ; len(b) >= 8; b = b[8:] {
		word |= alnum8(binary.LittleEndian.Uint64(b)) << shift
		if shift += 8; shift == 64 {
			f.masks = append(f.masks, word)
			word, shift = 0, 0
		}
	}
	var tail [8]byte
	copy(tail[:], l[len(l)&^7:])
	word |= alnum8(binary.LittleEndian.Uint64(tail[:])) << shift
	f.masks = append(f.masks, word, 0)
}

// alnum8 returns a bit for each of 8 bytes, the first one lowest: set for ASCII
// letters and digits.
func alnum8(x uint64) uint64 {
	const (
		each = 0x0101010101010101
		high = 0x80 * each
	)
	// Sums of 7 bits each: the high bit tells whether a byte reached 0x80.
	y := x &^ high
	lower := (y | 0x20*each) &^ high
	digit := (y + (0x80-'0')*each) &^ (y + (0x80-'9'-1)*each)
	alpha := (lower + (0x80-'a')*each) &^ (lower + (0x80-'z'-1)*each)
	m := (digit | alpha) & high &^ x
	return m >> 7 * 0x0102040810204080 >> 56
}

// unique removes repeated keys.
func (f *IDFilterBuilder) unique() {
	size := 1 << bits.Len(uint(2*len(f.keys)))
	f.slots = slices.Grow(f.slots[:0], size)[:size]
	clear(f.slots)
	mask := uint64(size - 1)
	out := f.keys[:0]
	for _, h := range f.keys {
		if h == 0 {
			h = 1 // the hash table has no place for it; a reader does the same
		}
		i := h & mask
		for f.slots[i] != 0 && f.slots[i] != h {
			i = (i + 1) & mask
		}
		if f.slots[i] == 0 {
			f.slots[i] = h
			out = append(out, h)
		}
	}
	f.keys = out
}

func hasDigit(t string) bool {
	for i := 0; i < len(t); i++ {
		if class[t[i]]&clsDigit != 0 {
			return true
		}
	}
	return false
}

// isFraction says whether a token looks like the fraction of a second.
func isFraction(t string) bool {
	if t[len(t)-1] == 'Z' {
		t = t[:len(t)-1]
	}
	return len(t) <= idFraction && isDigits(t)
}

// idHash is the hash of the key of a token.
func idHash(t string) uint64 {
	return mix(binary.LittleEndian.Uint64([]byte(t[:idKeyLen])))
}

// mix is the finaliser of MurmurHash3.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// IDProbe is what an identifier filter is asked about needles. It is the same for
// all chunk blocks and may be used by many goroutines.
type IDProbe struct {
	// hashes of keys that have to be there.
	hashes []uint64
	// pieces are tokens that may be part of a longer one.
	pieces []idPiece
}

type idPiece struct {
	length int
	hash   uint64
}

// NewIDProbe finds what the filter can tell about needles that are all wanted in a
// line.
func NewIDProbe(needles []string) *IDProbe {
	p := &IDProbe{}
	for _, n := range needles {
		p.add(n)
	}
	return p
}

func (p *IDProbe) add(n string) {
	for i := 0; i < len(n); i++ {
		start := i
		for i < len(n) && class[n[i]]&(clsAlpha|clsDigit) != 0 {
			i++
		}
		t := n[start:i]
		if len(t) < idKeyLen || !hasDigit(t) {
			continue
		}
		switch {
		case start == 0:
			// It may go on to the left. The byte before it is unknown: it may be a point.
			if !isFraction(t) {
				p.pieces = append(p.pieces, idPiece{len(t), idHash(t)})
			}
		case n[start-1] == '.' && isFraction(t):
			// The token may be one that is left out.
		default:
			p.hashes = append(p.hashes, idHash(t))
		}
	}
}

// Empty says that no filter can exclude anything.
func (p *IDProbe) Empty() bool { return len(p.hashes) == 0 && len(p.pieces) == 0 }

// MayContain is false only if no line that the filter was made of holds all
// needles. An empty filter, or one of another scheme, excludes nothing.
func (p *IDProbe) MayContain(filter []byte) bool {
	if len(filter) < idHeader || filter[0] != idScheme {
		return true
	}
	longest, hashes, filter := int(filter[1]), int(filter[2]), filter[idHeader:]
	for _, h := range p.hashes {
		if !bloomHas(filter, h, hashes) {
			return false
		}
	}
	if longest == idLongest {
		return true
	}
	for _, x := range p.pieces {
		if x.length > longest || x.length == longest && !bloomHas(filter, x.hash, hashes) {
			return false
		}
	}
	return true
}

func bloomHas(filter []byte, h uint64, hashes int) bool {
	if h == 0 {
		h = 1
	}
	m := uint64(len(filter)) * 8
	h1, h2 := uint32(h), uint32(h>>32)|1
	for range hashes {
		bit := uint64(h1) * m >> 32
		if m == 0 || filter[bit>>3]&(1<<(bit&7)) == 0 {
			return false
		}
		h1 += h2
	}
	return true
}
