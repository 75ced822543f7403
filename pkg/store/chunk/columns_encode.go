package chunk

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Choices of the encoder, measured on the corpus; none is part of the format.
const (
	// A dictionary is tried when a sample has few distinct values, and kept when
	// values repeat three times on average.
	dictSample         = 64
	dictSampleDistinct = 44
	dictRepeats        = 3
	// Skeletons with fewer values are not worth columns of their own.
	minSkeletonValues = 12
	// maxTimeSpread, in seconds, tells times of the entry from other times.
	maxTimeSpread = 2 * 3600
	// minHexWidth is the shortest identifier that is packed.
	minHexWidth = 8
	// maxIntDigits is the longest number kept as an integer.
	maxIntDigits = 18
)

// encColumn are the values of a column.
type encColumn struct {
	vals []string
	n    int
	// whole columns hold lines that no shape fits; they are not looked into.
	whole bool
}

// idPool collects the identifiers of one width.
type idPool struct {
	width int
	bytes []byte
	// slots is a hash table of places in the pool plus one; open addressing.
	slots []uint32
	count int
}

// columnEncoder writes the nodes of a table. Its memory is reused.
type columnEncoder struct {
	ints  intsEncoder
	times []int64
	// rowsOf finds the rows of a column; only columns of times need them. rows
	// are those of column number rowsFor.
	rowsOf  func(col int, dst []uint32) []uint32
	current int
	rows    []uint32
	rowsFor int

	meta, text, raw, data []byte
	pools                 []*idPool
	nodes                 int

	dict    map[string]uint32
	order   []string
	skels   map[string]int32
	skelBuf []byte
	vars    []string
	varEnds []int
	kidVals []string
	packed  []byte
}

// reset starts a table of rows at the given times; rowsOf appends the rows that
// have a value in a column.
func (c *columnEncoder) reset(times []int64, rowsOf func(col int, dst []uint32) []uint32) {
	c.rowsOf, c.rowsFor = rowsOf, -1
	c.ints.reset()
	c.times = times
	c.meta, c.text, c.raw, c.data = c.meta[:0], c.text[:0], c.raw[:0], c.data[:0]
	c.nodes = 0
	for _, p := range c.pools {
		p.bytes, p.count = p.bytes[:0], 0
		clear(p.slots)
	}
	if c.dict == nil {
		c.dict = make(map[string]uint32)
		c.skels = make(map[string]int32)
	}
}

// release forgets strings of the caller.
func (c *columnEncoder) release() {
	clear(c.dict)
	clear(c.order[:cap(c.order)])
	clear(c.vars[:cap(c.vars)])
	clear(c.kidVals[:cap(c.kidVals)])
	c.times, c.rowsOf = nil, nil
}

func (c *columnEncoder) putInts(v []uint64) {
	c.meta, c.data = c.ints.encode(c.meta, c.data, v, true)
}

func (c *columnEncoder) putText(s string) {
	c.meta = binary.AppendUvarint(c.meta, uint64(len(s)))
	c.text = append(c.text, s...)
}

// Depths of a node: columns may be split, parts of a split may be dictionaries,
// values of a dictionary are flat and have no time.
const (
	depthColumn = iota
	depthPart
	depthValue
)

// column writes column number no.
func (c *columnEncoder) column(no int, vals []string) {
	c.current = no
	c.node(vals, nil, depthColumn)
}

// node writes the node of some values of the current column: those at places,
// or all if places is nil. Types are tried from the cheapest to read to the most
// general.
func (c *columnEncoder) node(vals []string, places []int, depth int) {
	c.nodes++
	if len(vals) == 0 || allEqual(vals) {
		c.meta = append(c.meta, nodeConst)
		if len(vals) == 0 {
			c.putText("")
		} else {
			c.putText(vals[0])
		}
		return
	}
	if depth != depthValue && c.time(vals, places) {
		return
	}
	if c.number(vals) || c.identifier(vals) {
		return
	}
	if depth != depthValue {
		if c.dictionary(vals) {
			return
		}
		if depth == depthColumn && c.split(vals) {
			return
		}
	}
	c.strings(vals, depth == depthValue)
}

func allEqual(vals []string) bool {
	first := vals[0]
	for _, v := range vals[1:] {
		if v != first {
			return false
		}
	}
	return true
}

// strings writes values as they are, to TEXT or RAW.
func (c *columnEncoder) strings(vals []string, text bool) {
	lens := c.ints.alloc(len(vals))
	for i, v := range vals {
		lens[i] = uint64(len(v))
	}
	if text {
		c.meta = append(c.meta, nodeText)
		for _, v := range vals {
			c.text = append(c.text, v...)
		}
	} else {
		c.meta = append(c.meta, nodeRaw)
		for _, v := range vals {
			c.raw = append(c.raw, v...)
		}
	}
	c.putInts(lens)
}

// time writes values that tell the entry's time in one layout.
func (c *columnEncoder) time(vals []string, places []int) bool {
	text := guessLayout(vals[0])
	if text == "" {
		return false
	}
	l, ok := parseLayout(text)
	if !ok {
		return false
	}
	if len(vals[0]) != l.width {
		return false
	}
	if c.rowsFor != c.current {
		c.rows, c.rowsFor = c.rowsOf(c.current, c.rows[:0]), c.current
	}
	deltas := c.ints.alloc(len(vals))
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for k, s := range vals {
		i := k
		v, ok := l.parse(s)
		if !ok {
			return false
		}
		if places != nil {
			i = places[i]
		}
		ts := c.times[c.rows[i]]
		d := l.delta(v, ts)
		if l.value(d, ts) != v {
			return false
		}
		lo, hi = min(lo, d), max(hi, d)
		deltas[k] = zigzag(d)
	}
	if spread := uint64(hi) - uint64(lo); spread > uint64(maxTimeSpread*l.perSec) {
		return false
	}
	c.meta = append(c.meta, nodeTime)
	c.putText(text)
	c.putInts(deltas)
	return true
}

// guessLayout finds the layout of a value that looks like a time, "" if it does not.
func guessLayout(s string) string {
	if len(s) < 8 || class[s[0]]&clsDigit == 0 {
		return ""
	}
	var l string
	switch {
	case dateLen(s) > 0:
		l = "%Y" + s[4:5] + "%m" + s[4:5] + "%d" + s[10:11] + "%H:%M:%S"
		s = s[19:]
	case len(s) >= 20 && s[2] == '/' && s[6] == '/' && s[11] == ':':
		l = "%d/%b/%Y:%H:%M:%S"
		s = s[20:]
	case s[2] == ':' && s[5] == ':':
		l = "%H:%M:%S"
		s = s[8:]
	case len(s) >= 10 && s[0] == '1' && isDigits(s[:10]):
		if len(s) == 10 {
			return "%s"
		}
		if s[10] != '.' {
			if n := len(s) - 10; n <= 9 && isDigits(s) {
				return "%s%" + string(rune('0'+n))
			}
			return ""
		}
		l = "%s"
		s = s[10:]
	default:
		return ""
	}
	if len(s) > 1 && (s[0] == '.' || s[0] == ',') {
		n := 1
		for n < len(s) && class[s[n]]&clsDigit != 0 {
			n++
		}
		if n < 2 || n > 10 {
			return ""
		}
		l += s[:1] + "%" + string(rune('0'+n-1))
		s = s[n:]
	}
	switch {
	case s == "", s == "Z":
	case (s[0] == '+' || s[0] == '-') && (len(s) == 5 && isDigits(s[1:]) || len(s) == 6 && s[3] == ':'):
	default:
		return ""
	}
	return l + s
}

// number writes values that are all decimal digits.
func (c *columnEncoder) number(vals []string) bool {
	if class[firstByte(vals[0])]&clsDigit == 0 {
		return false
	}
	out := c.ints.alloc(len(vals))
	minLen, maxLen, zeros := math.MaxInt, 0, false
	for i, s := range vals {
		if len(s) == 0 || len(s) > maxIntDigits {
			return false
		}
		x := uint64(0)
		for j := 0; j < len(s); j++ {
			d := s[j] - '0'
			if d > 9 {
				return false
			}
			x = x*10 + uint64(d)
		}
		out[i] = x
		minLen, maxLen = min(minLen, len(s)), max(maxLen, len(s))
		zeros = zeros || s[0] == '0' && len(s) > 1
	}
	if zeros && minLen != maxLen {
		for i, s := range vals {
			out[i] += pow10u[len(s)]
		}
	}
	switch {
	case !zeros:
		c.meta = append(c.meta, nodeInt)
	case minLen == maxLen:
		c.meta = append(c.meta, nodeFixInt, byte(maxLen))
	default:
		c.meta = append(c.meta, nodeDigits)
	}
	c.putInts(out)
	return true
}

func firstByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}

// identifier packs values that are all hexadecimal of one width and one case,
// or all UUIDs.
func (c *columnEncoder) identifier(vals []string) bool {
	n := len(vals[0])
	uuid := n == 36 && vals[0][8] == '-'
	if n < minHexWidth || !uuid && (n%2 != 0 || n > maxHexWidth) {
		return false
	}
	c.packed = c.packed[:0]
	flags := byte(0)
	for _, s := range vals {
		if len(s) != n {
			return false
		}
		var f byte
		if uuid {
			if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
				return false
			}
			for _, part := range [...]string{s[:8], s[9:13], s[14:18], s[19:23], s[24:]} {
				c.packed, f = packHex(c.packed, part)
				flags |= f
			}
		} else {
			c.packed, f = packHex(c.packed, s)
			flags |= f
		}
		if flags&hexInvalid != 0 || flags&(hexLower|hexUpper) == hexLower|hexUpper {
			return false
		}
	}
	kind, width := byte(nodeHex), n/2
	if uuid {
		kind, width = nodeUUID, 16
	}
	if flags&hexUpper != 0 {
		kind++ // the upper case form
	}
	c.meta = append(c.meta, kind)
	if !uuid {
		c.meta = binary.AppendUvarint(c.meta, uint64(n))
	}
	p := c.pool(width)
	refs := c.ints.alloc(len(vals))
	for i := range refs {
		refs[i] = p.add(c.packed[i*width : (i+1)*width])
	}
	c.putInts(refs)
	return true
}

func (c *columnEncoder) pool(width int) *idPool {
	for _, p := range c.pools {
		if p.width == width {
			return p
		}
	}
	p := &idPool{width: width}
	c.pools = append(c.pools, p)
	return p
}

// add returns 0 for a new identifier, which it keeps, or how many places ago it
// was added.
func (p *idPool) add(id []byte) uint64 {
	if 2*(p.count+1) > len(p.slots) {
		p.grow()
	}
	mask := uint64(len(p.slots) - 1)
	h := xxhash.Sum64(id) & mask
	for ; p.slots[h] != 0; h = (h + 1) & mask {
		at := int(p.slots[h]-1) * p.width
		if string(p.bytes[at:at+p.width]) == string(id) {
			return uint64(p.count) - uint64(p.slots[h]-1)
		}
	}
	p.bytes = append(p.bytes, id...)
	p.count++
	p.slots[h] = uint32(p.count)
	return 0
}

func (p *idPool) grow() {
	p.slots = make([]uint32, max(1024, 2*len(p.slots)))
	mask := uint64(len(p.slots) - 1)
	for i := range p.count {
		h := xxhash.Sum64(p.bytes[i*p.width:(i+1)*p.width]) & mask
		for p.slots[h] != 0 {
			h = (h + 1) & mask
		}
		p.slots[h] = uint32(i + 1)
	}
}

// dictionary writes values that repeat often as indices.
func (c *columnEncoder) dictionary(vals []string) bool {
	n := len(vals)
	clear(c.dict)
	step := max(n/dictSample, 1)
	sampled := 0
	for i := 0; i < n && sampled < dictSample; i += step {
		c.dict[vals[i]] = 0
		sampled++
	}
	if len(c.dict) > dictSampleDistinct || len(c.dict)*dictRepeats > n {
		return false
	}
	clear(c.dict)
	c.order = c.order[:0]
	idx := c.ints.alloc(n)
	last, lastIdx := "", uint32(math.MaxUint32)
	for i, v := range vals {
		if lastIdx != math.MaxUint32 && v == last {
			idx[i] = uint64(lastIdx)
			continue
		}
		k, ok := c.dict[v]
		if !ok {
			k = uint32(len(c.order))
			if int(k+1)*dictRepeats > n {
				return false
			}
			c.dict[v] = k
			c.order = append(c.order, v)
		}
		idx[i] = uint64(k)
		last, lastIdx = v, k
	}
	c.meta = append(c.meta, nodeDict)
	c.meta = binary.AppendUvarint(c.meta, uint64(len(c.order)))
	c.node(c.order, nil, depthValue)
	c.putInts(idx)
	return true
}

// split writes values as skeletons and columns of what varies in them.
func (c *columnEncoder) split(vals []string) bool {
	n := len(vals)
	if n < 2*minSkeletonValues {
		return false
	}
	clear(c.skels)
	c.vars, c.varEnds = c.vars[:0], c.varEnds[:0]
	ids := c.ints.alloc(n)
	var counts, nvars []int
	var texts []string
	for i, v := range vals {
		if strings.IndexByte(v, fieldMark) >= 0 {
			ids[i] = dropped
			c.varEnds = append(c.varEnds, len(c.vars))
			continue
		}
		before := len(c.vars)
		c.skelBuf, c.vars = skeleton(v, c.skelBuf[:0], c.vars)
		k, ok := c.skels[string(c.skelBuf)]
		if !ok {
			k = int32(len(texts))
			text := string(c.skelBuf)
			c.skels[text] = k
			texts = append(texts, text)
			counts = append(counts, 0)
			nvars = append(nvars, len(c.vars)-before)
		}
		counts[k]++
		ids[i] = uint64(k)
		c.varEnds = append(c.varEnds, len(c.vars))
		if i == n/4 && len(texts) > max(n/8, 2*minSkeletonValues) {
			return false // hardly two values alike
		}
	}
	// Keep the frequent ones, in order.
	number := make([]uint64, len(texts))
	kept, covered, kids := 0, 0, 0
	for k := range texts {
		number[k] = dropped
		if counts[k] >= minSkeletonValues && nvars[k] <= maxLineFields {
			number[k] = uint64(kept)
			kept++
			covered += counts[k]
			kids += nvars[k]
		}
	}
	if 2*covered < n || c.nodes+kids > maxNodes/2 {
		return false
	}
	c.writeSplit(vals, ids, &splitPlan{texts: texts, nvars: nvars, counts: counts, number: number, kept: kept, none: n - covered})
	return true
}

// splitPlan says which skeletons a split writes.
type splitPlan struct {
	texts         []string
	nvars, counts []int
	// number is the place of each skeleton among those kept, or dropped.
	number []uint64
	kept   int
	// none is the number of values in no kept skeleton.
	none int
}

const dropped = math.MaxUint64

// writeSplit writes the node of a split. ids are places in plan.texts and
// become places among the kept ones.
func (c *columnEncoder) writeSplit(vals []string, ids []uint64, plan *splitPlan) {
	// Values in order of their skeletons, those without at the end.
	starts := make([]int, plan.kept+1)
	at := 0
	for k, n := range plan.counts {
		if plan.number[k] != dropped {
			starts[plan.number[k]] = at
			at += n
		}
	}
	starts[plan.kept] = at
	order := make([]int, len(ids))
	next := slices.Clone(starts)
	for i, k := range ids {
		ids[i] = uint64(plan.kept)
		if k != dropped && plan.number[k] != dropped {
			ids[i] = plan.number[k]
		}
		order[next[ids[i]]] = i
		next[ids[i]]++
	}
	c.meta = append(c.meta, nodeSplit)
	c.meta = binary.AppendUvarint(c.meta, uint64(plan.kept))
	for k, text := range plan.texts {
		if plan.number[k] != dropped {
			c.putText(text)
		}
	}
	c.meta = append(c.meta, byte(min(plan.none, 1)))
	c.putInts(ids)
	for k, n := range plan.counts {
		if plan.number[k] == dropped {
			continue
		}
		from := starts[plan.number[k]]
		for v := range plan.nvars[k] {
			c.kidVals = c.kidVals[:0]
			places := order[from : from+n]
			for _, i := range places {
				c.kidVals = append(c.kidVals, c.vars[c.varEnds[i]-plan.nvars[k]+v])
			}
			c.node(c.kidVals, places, depthPart)
		}
	}
	if plan.none > 0 {
		c.kidVals = c.kidVals[:0]
		places := order[starts[plan.kept]:]
		for _, i := range places {
			c.kidVals = append(c.kidVals, vals[i])
		}
		c.node(c.kidVals, places, depthPart)
	}
}

// finish returns the parts of the table; they are valid until reset. The pools
// stand in front of what meta holds so far.
func (c *columnEncoder) finish(meta, ids []byte) (_, _ []byte) {
	used := 0
	for _, p := range c.pools {
		if p.count > 0 {
			used++
		}
	}
	meta = binary.AppendUvarint(meta, uint64(used))
	for _, p := range c.pools {
		if p.count == 0 {
			continue
		}
		meta = binary.AppendUvarint(meta, uint64(p.width))
		meta = binary.AppendUvarint(meta, uint64(p.count))
		ids = append(ids, p.bytes...)
	}
	return append(meta, c.meta...), ids
}
