package chunk

import (
	"encoding/binary"

	"github.com/klauspost/compress/fse"
	"github.com/klauspost/compress/huff0"
)

// intCol is a decoded integer column.
type intCol struct {
	v []uint64
	// same says that all values are equal.
	same bool
}

// intsDecoder reads integer columns into one arena.
type intsDecoder struct {
	huff  *huff0.Scratch
	fse   fse.Scratch
	plane []byte

	arena  []uint64
	budget int
	seen   []intCol
}

// reset starts a new table that may use up to budget integers.
func (d *intsDecoder) reset(budget int) {
	if d.arena = d.arena[:0]; cap(d.arena) > keepInts {
		d.arena = nil
	}
	d.seen = d.seen[:0]
	d.budget = budget
}

// alloc returns n integers with undefined content, nil and false when the
// budget is used up.
func (d *intsDecoder) alloc(n int) ([]uint64, bool) {
	if n > d.budget {
		return nil, false
	}
	d.budget -= n
	if len(d.arena)+n > cap(d.arena) {
		d.arena = make([]uint64, 0, max(min(2*cap(d.arena), maxValues), n, 1<<12))
	}
	l := len(d.arena)
	d.arena = d.arena[:l+n]
	return d.arena[l : l+n : l+n], true
}

// decode reads n values. On damage it records the error in desc or data and
// returns values of the right number whenever it can be afforded.
func (d *intsDecoder) decode(desc, data *reader, n int) intCol {
	if n == 0 || desc.err != nil || data.err != nil {
		return intCol{}
	}
	kp := desc.byte()
	kind, packing := kp&15, kp>>4
	if kind == intsRef {
		return d.ref(desc, packing, n)
	}
	v, ok := d.alloc(n)
	if !ok {
		desc.fail("more values than lines can hold")
		return intCol{}
	}
	col := intCol{v: v}
	switch kind {
	case intsConst:
		if packing != 0 {
			desc.fail("unknown packing")
		}
		x := desc.uvarint()
		for i := range v {
			v[i] = x
		}
		col.same = true
	case intsPlain:
		base := desc.uvarint()
		d.residuals(desc, data, packing, v)
		for i := range v {
			v[i] += base
		}
	case intsDelta:
		x := desc.uvarint()
		step := uint64(unzigzag(desc.uvarint()))
		d.residuals(desc, data, packing, v[1:])
		v[0] = x
		for i := 1; i < len(v); i++ {
			x += v[i] + step
			v[i] = x
		}
	case intsZigzag:
		x := desc.uvarint()
		d.residuals(desc, data, packing, v[1:])
		v[0] = x
		for i := 1; i < len(v); i++ {
			x += uint64(unzigzag(v[i]))
			v[i] = x
		}
	case intsDict:
		d.dict(desc, data, packing, v)
	default:
		desc.fail("unknown kind of integers")
	}
	if desc.err != nil || data.err != nil {
		return intCol{}
	}
	d.seen = append(d.seen, col)
	return col
}

func (d *intsDecoder) ref(desc *reader, packing byte, n int) intCol {
	back := desc.count(len(d.seen))
	if desc.err != nil {
		return intCol{}
	}
	if back == 0 || packing != 0 {
		desc.fail("bad reference to integers")
		return intCol{}
	}
	col := d.seen[len(d.seen)-back]
	if len(col.v) != n {
		desc.fail("reference to integers of another number")
		return intCol{}
	}
	d.seen = append(d.seen, col)
	return col
}

func (d *intsDecoder) dict(desc, data *reader, packing byte, v []uint64) {
	k := desc.count(maxIntsDict)
	if k == 0 {
		desc.fail("empty dictionary of integers")
		return
	}
	var vals [maxIntsDict]uint64
	x := uint64(0)
	for i := range k {
		x += desc.uvarint()
		vals[i] = x
	}
	d.residuals(desc, data, packing, v)
	for i, r := range v {
		if r >= uint64(k) {
			desc.fail("index outside the dictionary of integers")
			return
		}
		v[i] = vals[r]
	}
}

// residuals fills v from packed bits or byte planes.
func (d *intsDecoder) residuals(desc, data *reader, packing byte, v []uint64) {
	b := int(desc.byte())
	if b > 64 {
		desc.fail("integers wider than 64 bits")
	}
	if b == 0 || len(v) == 0 || desc.err != nil {
		clear(v)
		return
	}
	switch packing {
	case packBits:
		unpackBits(v, data.bytes(bitsLen(len(v), b)), b)
	case packPlanes:
		for p := 0; p < b; p += 8 {
			d.addPlane(desc, data, v, p)
		}
	default:
		desc.fail("unknown packing")
	}
}

// unpackBits is the inverse of appendBits. src holds bitsLen bytes, or nothing
// after an error.
func unpackBits(v []uint64, src []byte, b int) {
	if src == nil {
		clear(v)
		return
	}
	mask := uint64(1)<<b - 1
	if b == 64 {
		mask = ^uint64(0)
	}
	bit := 0
	for i := range v {
		at, sh := bit>>3, bit&7
		var w uint64
		if at+8 <= len(src) {
			w = binary.LittleEndian.Uint64(src[at:]) >> sh
		} else {
			var tail [8]byte
			copy(tail[:], src[at:])
			w = binary.LittleEndian.Uint64(tail[:]) >> sh
		}
		if sh+b > 64 {
			w |= uint64(src[at+8]) << (64 - sh)
		}
		v[i] = w & mask
		bit += b
	}
}

// addPlane reads one byte plane into bits shift..shift+7 of v; the first plane
// overwrites what v held.
func (d *intsDecoder) addPlane(desc, data *reader, v []uint64, shift int) {
	codec := desc.byte()
	var p []byte
	switch codec {
	case planeSame:
		x := uint64(desc.byte()) << shift
		if shift == 0 {
			for i := range v {
				v[i] = x
			}
		} else if x != 0 {
			for i := range v {
				v[i] |= x
			}
		}
		return
	case planeRaw:
		p = data.bytes(len(v))
	case planeHuff1X, planeHuff4X, planeFSE:
		p = d.entropy(codec, data.bytes(desc.count(data.left())), len(v))
	}
	if len(p) != len(v) || desc.err != nil || data.err != nil {
		desc.fail("bad byte plane")
		clear(v)
		return
	}
	if shift == 0 {
		for i, x := range p {
			v[i] = uint64(x)
		}
		return
	}
	for i, x := range p {
		v[i] |= uint64(x) << shift
	}
}

// entropy decompresses a plane of n bytes; nil when it is damaged.
func (d *intsDecoder) entropy(codec byte, src []byte, n int) []byte {
	if cap(d.plane) < n {
		d.plane = make([]byte, 0, n+n/4)
	}
	if codec == planeFSE {
		d.fse.Out = d.plane[:0]
		// The limit is only checked now and then, hence the exact check by the caller.
		d.fse.DecompressLimit = n + 1
		out, err := fse.Decompress(src, &d.fse)
		d.fse.Out = nil
		if err != nil {
			return nil
		}
		return out
	}
	s, rest, err := huff0.ReadTable(src, d.huff)
	if err != nil {
		return nil
	}
	d.huff = s
	var out []byte
	if codec == planeHuff1X {
		out, err = s.Decoder().Decompress1X(d.plane[:0:n], rest)
	} else {
		out, err = s.Decoder().Decompress4X(d.plane[:n:n], rest)
	}
	if err != nil {
		return nil
	}
	return out
}
