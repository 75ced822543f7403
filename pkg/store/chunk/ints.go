package chunk

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/klauspost/compress/fse"
	"github.com/klauspost/compress/huff0"
)

// Kinds of ints and packings of their residuals, see the package comment.
const (
	intsConst = iota
	intsRef
	intsPlain
	intsDelta
	intsZigzag
	intsDict

	packBits   = 0
	packPlanes = 1
)

// Codecs of a byte plane.
const (
	planeSame = iota
	planeRaw
	planeHuff1X
	planeHuff4X
	planeFSE
)

const (
	maxIntsDict = 256
	// fewInts is the number of values under which entropy coding does not earn
	// its tables; planes are for more.
	fewInts = 192
	// huff4XMin is the plane size from which four parallel streams pay off.
	huff4XMin = 512
	// sampleInts is how many values the choice between kinds looks at.
	sampleInts = 512
)

// intsEncoder writes integer columns. Its memory is reused.
type intsEncoder struct {
	huff  huff0.Scratch
	fse   fse.Scratch
	resid []uint64
	plane []byte

	// seen are the ints of the current table, for references.
	seen     map[uint64]int
	seenVals [][]uint64
	arena    []uint64
}

// reset starts a new table.
func (e *intsEncoder) reset() {
	if e.seen == nil {
		e.seen = make(map[uint64]int)
	}
	clear(e.seen)
	clear(e.seenVals)
	e.seenVals = e.seenVals[:0]
	if e.arena = e.arena[:0]; cap(e.arena) > keepInts {
		e.arena = nil
	}
}

// alloc returns memory for n integers that stays valid until reset: references
// compare with it.
func (e *intsEncoder) alloc(n int) []uint64 {
	if len(e.arena)+n > cap(e.arena) {
		// Older slices keep the former array alive until reset.
		e.arena = make([]uint64, 0, max(2*cap(e.arena), n, 1<<14))
	}
	l := len(e.arena)
	e.arena = e.arena[:l+n]
	return e.arena[l : l+n : l+n]
}

// intsStats is what one pass over the values tells.
type intsStats struct {
	min, max   uint64
	minD, maxD int64
	maxZ       uint64
	hash       uint64
	// changes is how often a value differs from the one before.
	changes int
}

func statInts(v []uint64) intsStats {
	st := intsStats{min: v[0], max: v[0], minD: math.MaxInt64, maxD: math.MinInt64}
	h := uint64(len(v)) * 0x9E3779B97F4A7C15
	prev := v[0]
	for _, x := range v {
		h = bits.RotateLeft64((h^x)*0xff51afd7ed558ccd, 29)
		if x < st.min {
			st.min = x
		}
		if x > st.max {
			st.max = x
		}
		d := int64(x - prev)
		if d != 0 {
			st.changes++
		}
		if d < st.minD {
			st.minD = d
		}
		if d > st.maxD {
			st.maxD = d
		}
		prev = x
	}
	st.hash = h
	// The first difference is always 0; it only matters for a strictly monotonic
	// column, whose minimum is recomputed without it.
	if len(v) > 1 && (st.minD == 0 || st.maxD == 0) {
		st.minD, st.maxD = math.MaxInt64, math.MinInt64
		for i := 1; i < len(v); i++ {
			d := int64(v[i] - v[i-1])
			st.minD = min(st.minD, d)
			st.maxD = max(st.maxD, d)
		}
	}
	st.maxZ = max(zigzag(st.minD), zigzag(st.maxD))
	return st
}

// encode appends the descriptor and the data of v, which must come from alloc
// when refs is set (then equal columns are written as references).
func (e *intsEncoder) encode(desc, data []byte, v []uint64, refs bool) ([]byte, []byte) {
	if len(v) == 0 {
		return desc, data
	}
	st := statInts(v)
	if st.min == st.max {
		if refs {
			e.seenVals = append(e.seenVals, v)
		}
		desc = append(desc, intsConst)
		return binary.AppendUvarint(desc, st.min), data
	}
	if refs {
		no := len(e.seenVals)
		e.seenVals = append(e.seenVals, v)
		if k, ok := e.seen[st.hash]; ok && slices.Equal(e.seenVals[k], v) {
			desc = append(desc, intsRef)
			return binary.AppendUvarint(desc, uint64(no-k)), data
		}
		e.seen[st.hash] = no
	}
	return e.encodeResiduals(desc, data, v, &st)
}

// encodeResiduals picks the cheapest kind and writes it.
func (e *intsEncoder) encodeResiduals(desc, data []byte, v []uint64, st *intsStats) ([]byte, []byte) {
	kind := e.chooseKind(v, st)
	e.resid = slices.Grow(e.resid[:0], len(v))
	r := e.resid
	var head [maxIntsDict*binary.MaxVarintLen64 + 16]byte
	h := head[:0]
	switch kind {
	case intsPlain:
		h = binary.AppendUvarint(h, st.min)
		for _, x := range v {
			r = append(r, x-st.min)
		}
	case intsDelta:
		h = binary.AppendUvarint(h, v[0])
		h = binary.AppendVarint(h, st.minD)
		for i := 1; i < len(v); i++ {
			r = append(r, v[i]-v[i-1]-uint64(st.minD))
		}
	case intsZigzag:
		h = binary.AppendUvarint(h, v[0])
		for i := 1; i < len(v); i++ {
			r = append(r, zigzag(int64(v[i]-v[i-1])))
		}
	case intsDict:
		var vals []uint64
		r, vals = dictResiduals(r, v)
		h = binary.AppendUvarint(h, uint64(len(vals)))
		prev := uint64(0)
		for _, x := range vals {
			h = binary.AppendUvarint(h, x-prev)
			prev = x
		}
	}
	e.resid = r
	maxR := uint64(0)
	for _, x := range r {
		maxR |= x
	}
	b := bits.Len64(maxR)
	if len(r) < fewInts {
		desc = append(desc, byte(kind|packBits<<4))
		desc = append(desc, h...)
		desc = append(desc, byte(b))
		return desc, appendBits(data, r, b)
	}
	desc = append(desc, byte(kind|packPlanes<<4))
	desc = append(desc, h...)
	desc = append(desc, byte(b))
	for p := 0; p < b; p += 8 {
		desc, data = e.encodePlane(desc, data, r, p)
	}
	return desc, data
}

// chooseKind estimates on a sample what each kind would cost.
func (e *intsEncoder) chooseKind(v []uint64, st *intsStats) int {
	plainBits := bits.Len64(st.max - st.min)
	if len(v) < 3 {
		return intsPlain
	}
	if len(v) < fewInts {
		// Bit-packed: the widest residual decides.
		n := uint64(len(v))
		best, cost := intsPlain, n*uint64(plainBits)
		if c := n * uint64(bits.Len64(uint64(st.maxD)-uint64(st.minD))); c+16 < cost {
			best, cost = intsDelta, c+16
		}
		if c := n * uint64(bits.Len64(st.maxZ)); c+8 < cost {
			best, cost = intsZigzag, c+8
		}
		if plainBits > 6 {
			if k := countDistinct(v, 16); k <= 16 {
				if c := n*uint64(bits.Len(uint(k-1))) + uint64(k*(plainBits+8)); c < cost {
					best = intsDict
				}
			}
		}
		return best
	}
	if st.changes < len(v)/16 {
		// Runs, as of rows sorted by stream: a sample would not show them.
		if st.minD >= 0 {
			return intsDelta
		}
		return intsZigzag
	}
	var s [sampleInts]uint64
	// Neighbours matter to differences: the sample is one run from the middle.
	m := min(len(v)-1, sampleInts)
	from := 1 + (len(v)-1-m)/2
	run := v[from-1 : from+m]
	for i := range m {
		s[i] = run[i+1] - st.min
	}
	best, cost := intsPlain, sampleCost(s[:m])
	if plainBits > 3 {
		for i := range m {
			s[i] = run[i+1] - run[i] - uint64(st.minD)
		}
		if c := sampleCost(s[:m]); c < cost*0.97 {
			best, cost = intsDelta, c
		}
		for i := range m {
			s[i] = zigzag(int64(run[i+1] - run[i]))
		}
		if c := sampleCost(s[:m]); c < cost*0.97 {
			best, cost = intsZigzag, c
		}
	}
	if plainBits > 8 {
		if k := countDistinct(v, maxIntsDict); k <= maxIntsDict {
			dictCost := float64(m)*math.Log2(float64(k)) + float64(k*(plainBits/2+8))*float64(m)/float64(len(v))
			if dictCost < cost {
				best = intsDict
			}
		}
	}
	return best
}

// sampleCost is the entropy of the byte planes of v, in bits.
func sampleCost(v []uint64) float64 {
	or := uint64(0)
	for _, x := range v {
		or |= x
	}
	cost := 0.0
	n := float64(len(v))
	for p := 0; p < bits.Len64(or); p += 8 {
		var hist [256]uint16
		for _, x := range v {
			hist[byte(x>>p)]++
		}
		used := 0
		c := n * math.Log2(n)
		for _, k := range hist {
			if k > 0 {
				used++
				c -= xlog2(uint32(k))
			}
		}
		// A small sample underestimates the entropy of a wide alphabet
		// (Miller-Madow correction).
		cost += min(c+float64(used-1)*0.72, n*8)
	}
	return cost
}

// xlog2Table holds x log2 x of small numbers, for entropy estimates.
var xlog2Table = func() (t [1024]float64) {
	for i := 1; i < len(t); i++ {
		t[i] = float64(i) * math.Log2(float64(i))
	}
	return t
}()

func xlog2(x uint32) float64 {
	if x < uint32(len(xlog2Table)) {
		return xlog2Table[x]
	}
	return float64(x) * math.Log2(float64(x))
}

// countDistinct counts different values, giving up above limit (<= 256).
func countDistinct(v []uint64, limit int) int {
	var tab [1024]uint64
	var used [1024]bool
	n := 0
	for _, x := range v {
		i := (x * 0x9E3779B97F4A7C15) >> 54
		for used[i] && tab[i] != x {
			i = (i + 1) & 1023
		}
		if !used[i] {
			used[i], tab[i] = true, x
			if n++; n > limit {
				return n
			}
		}
	}
	return n
}

// dictResiduals returns the distinct values in order and the place of each
// value among them.
func dictResiduals(r, v []uint64) ([]uint64, []uint64) {
	idx := make(map[uint64]uint64, maxIntsDict)
	vals := make([]uint64, 0, maxIntsDict)
	for _, x := range v {
		if _, ok := idx[x]; !ok {
			idx[x] = 0
			vals = append(vals, x)
		}
	}
	slices.Sort(vals)
	for i, x := range vals {
		idx[x] = uint64(i)
	}
	for _, x := range v {
		r = append(r, idx[x])
	}
	return r, vals
}

// appendBits packs the low b bits of each value, low bits first.
func appendBits(dst []byte, v []uint64, b int) []byte {
	if b == 0 {
		return dst
	}
	var acc uint64
	fill := 0
	for _, x := range v {
		acc |= x << fill
		n := fill + b
		if n < 64 {
			fill = n
			continue
		}
		dst = binary.LittleEndian.AppendUint64(dst, acc)
		acc = 0
		if fill > 0 {
			acc = x >> (64 - fill)
		}
		fill = n - 64
	}
	for ; fill > 0; fill -= 8 {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}

// bitsLen is the number of bytes that appendBits writes.
func bitsLen(n, b int) int { return (n*b + 7) / 8 }

// encodePlane writes byte plane r >> shift in the smallest form.
func (e *intsEncoder) encodePlane(desc, data []byte, r []uint64, shift int) ([]byte, []byte) {
	p := slices.Grow(e.plane[:0], len(r))[:len(r)]
	e.plane = p
	var hist [256]uint32
	for i, x := range r {
		b := byte(x >> shift)
		p[i] = b
		hist[b]++
	}
	if int(hist[p[0]]) == len(p) {
		return append(desc, planeSame, p[0]), data
	}
	n := float64(len(p))
	ent := n * math.Log2(n)
	used := 0
	for _, k := range hist {
		if k > 0 {
			ent -= xlog2(k)
			used++
		}
	}
	// Under ~3 % gain decoding is not worth it; table costs are seen below.
	if ent/8+float64(used)/4 < n*0.97 {
		if ent < 1.6*n {
			if out, err := fse.Compress(p, &e.fse); err == nil && len(out) < len(p) {
				desc = append(desc, planeFSE)
				desc = binary.AppendUvarint(desc, uint64(len(out)))
				return desc, append(data, out...)
			}
		}
		codec, compress := byte(planeHuff1X), huff0.Compress1X
		if len(p) >= huff4XMin {
			codec, compress = planeHuff4X, huff0.Compress4X
		}
		e.huff.Reuse = huff0.ReusePolicyNone
		if out, _, err := compress(p, &e.huff); err == nil && len(out) < len(p) {
			desc = append(desc, codec)
			desc = binary.AppendUvarint(desc, uint64(len(out)))
			return desc, append(data, out...)
		}
	}
	return append(desc, planeRaw), append(data, p...)
}
