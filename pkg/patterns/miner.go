package patterns

import (
	"cmp"
	"slices"
	"strings"
)

// Options bound a Miner. The zero value of each field means its default.
type Options struct {
	// MaxClusters is the most that is held at once. Default 1000.
	MaxClusters int
	// Similarity is the share of a line's words that a cluster must have in the
	// same places for the line to join it. In a line of named fields that has
	// sentences only their words are compared. Default 0.6.
	Similarity float64
}

// Bounds of the tree.
const (
	// maxFirst is the number of first words that a shape tells apart: beyond
	// it lines seem to begin with a value.
	maxFirst = 32
	// maxLeaf is the number of clusters that a line is compared with: beyond it
	// lines join the most similar one, however little that is.
	maxLeaf = 32
	// maxSeen is the number of lines, by all but their values, whose cluster is
	// remembered.
	maxSeen = 1 << 14
)

func (o Options) withDefaults() Options {
	if o.MaxClusters <= 0 {
		o.MaxClusters = 1000
	}
	if o.Similarity <= 0 {
		o.Similarity = 0.6
	}
	return o
}

// Cluster is a group of lines of one class and shape.
type Cluster struct {
	// Pattern is the text with <_> for what differs. It can be used in LogQL's
	// |> filter as it is.
	Pattern string
	// Class is what the lines were added under.
	Class string
	// Total is the sum of the weights of the lines.
	Total float64
	// Counts are the sums by bucket, sorted by it.
	Counts []Count
}

// Count is the weight of the lines of one bucket.
type Count struct {
	Bucket int
	Weight float64
}

// Miner groups lines. It is used by one goroutine.
type Miner struct {
	opts     Options
	t        tokens
	shapes   map[shapeKey]*shapeNode
	seen     map[seenKey]*cluster
	clusters []*cluster
	made     int
}

// shapeKey is the root of the tree.
type shapeKey struct {
	class string
	shape uint64
}

// seenKey is a line but for its values.
type seenKey struct {
	shapeKey
	all uint64
}

// shapeNode holds the clusters of a shape by their first word.
type shapeNode struct {
	first map[uint32]*leaf
	any   leaf // of lines that begin with a value
}

type leaf struct{ clusters []*cluster }

// cluster is a group in the making.
type cluster struct {
	number int // by age
	class  string
	shape  uint64
	// first is the word by which it stands in the tree, valueHash for any.
	first uint32
	text  string // of the first line
	words []word // of the first line; those that differ since are valueHash
	cut   bool
	total float64
	// counts are by bucket.
	counts map[int]float64
}

// NewMiner returns an empty Miner.
func NewMiner(o Options) *Miner {
	return &Miner{opts: o.withDefaults(), shapes: map[shapeKey]*shapeNode{}, seen: map[seenKey]*cluster{}}
}

// Add counts a line with a weight in a bucket, such as a step of time. Lines of
// different classes, such as levels, never share a cluster. An empty line is
// left out. Nothing of line is kept.
func (m *Miner) Add(line, class string, bucket int, weight float64) {
	m.t.split(line)
	if m.t.line == "" && !m.t.cut {
		return
	}
	key := seenKey{shapeKey{class, m.t.shape}, m.t.all}
	c := m.seen[key]
	if c == nil {
		c = m.place(key.shapeKey)
		if len(m.seen) >= maxSeen {
			clear(m.seen)
		}
		key.class = c.class // the cluster's copy
		m.seen[key] = c
	}
	c.total += weight
	c.counts[bucket] += weight
	if len(m.clusters) > m.opts.MaxClusters {
		m.forget()
	}
}

// place finds the cluster of the line at hand, or makes it.
func (m *Miner) place(key shapeKey) *cluster {
	node := m.shapes[key]
	if node == nil {
		node = &shapeNode{first: map[uint32]*leaf{}}
		key.class = strings.Clone(key.class)
		m.shapes[key] = node
	}
	first := m.t.firstWord()
	lf := node.leaf(first)
	if lf == &node.any {
		first = valueHash
	}
	best, similarity := lf.nearest(&m.t)
	if best != nil && (similarity >= m.opts.Similarity || len(lf.clusters) >= maxLeaf) {
		best.widen(m.t.words)
		return best
	}
	m.made++
	c := &cluster{
		number: m.made, class: strings.Clone(key.class), shape: key.shape, first: first,
		text: strings.Clone(m.t.line), words: slices.Clone(m.t.words), cut: m.t.cut, counts: map[int]float64{},
	}
	lf.clusters = append(lf.clusters, c)
	m.clusters = append(m.clusters, c)
	return c
}

// firstWord is the hash of the first word that lines can be told apart by, or
// valueHash. With sentences it is the first word of the first.
func (t *tokens) firstWord() uint32 {
	for _, w := range t.words {
		if !w.key && (t.texts == 0 || w.text) {
			if w.digits {
				return valueHash
			}
			return w.hash
		}
	}
	return valueHash
}

// leaf returns the place of lines that begin with a word.
func (n *shapeNode) leaf(first uint32) *leaf {
	if first == valueHash {
		return &n.any
	}
	lf := n.first[first]
	if lf == nil {
		if len(n.first) >= maxFirst {
			return &n.any
		}
		lf = &leaf{}
		n.first[first] = lf
	}
	return lf
}

// nearest returns the most similar cluster, the oldest of several.
func (lf *leaf) nearest(t *tokens) (best *cluster, similarity float64) {
	similarity = -1
	for _, c := range lf.clusters {
		if s := c.similarity(t); s > similarity {
			best, similarity = c, s
		}
	}
	return best, similarity
}

// similarity is the share of equal words, of those in sentences if there are
// any. Keys, which are equal anyway, and values at sight count for nothing; a
// place that has differed before counts for half.
func (c *cluster) similarity(t *tokens) float64 {
	places, equal := 0, 0.0
	for i := range t.words {
		w, own := &t.words[i], &c.words[i]
		if w.key || w.hash == valueHash && own.hash == valueHash || t.texts > 0 && !w.text {
			continue
		}
		places++
		switch {
		case w.hash == own.hash:
			equal++
		case own.hash == valueHash:
			equal += 0.5
		}
	}
	if places == 0 {
		return 1
	}
	return equal / float64(places)
}

// widen makes the words that differ values.
func (c *cluster) widen(words []word) {
	for i := range words {
		if words[i].hash != c.words[i].hash {
			c.words[i].hash = valueHash
		}
	}
}

// forget drops the smaller half of the clusters, the younger ones among equals.
func (m *Miner) forget() {
	slices.SortFunc(m.clusters, func(a, b *cluster) int {
		return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.number, b.number))
	})
	keep := max(m.opts.MaxClusters/2, 1)
	clear(m.clusters[keep:])
	m.clusters = m.clusters[:keep]
	clear(m.seen)
	clear(m.shapes)
	for _, c := range m.clusters {
		key := shapeKey{c.class, c.shape}
		node := m.shapes[key]
		if node == nil {
			node = &shapeNode{first: map[uint32]*leaf{}}
			m.shapes[key] = node
		}
		lf := node.leaf(c.first)
		lf.clusters = append(lf.clusters, c)
	}
}

// Clusters returns the groups, those with the most weight first, then by
// pattern and class. Groups that have come to have one pattern are one.
func (m *Miner) Clusters() []Cluster {
	type name struct{ pattern, class string }
	index := map[name]int{}
	var out []Cluster
	var counts []map[int]float64
	for _, c := range m.clusters {
		n := name{c.pattern(), c.class}
		i, ok := index[n]
		if !ok {
			i = len(out)
			index[n] = i
			out = append(out, Cluster{Pattern: n.pattern, Class: n.class})
			counts = append(counts, map[int]float64{})
		}
		out[i].Total += c.total
		for b, w := range c.counts {
			counts[i][b] += w
		}
	}
	for i := range out {
		list := make([]Count, 0, len(counts[i]))
		for b, w := range counts[i] {
			list = append(list, Count{b, w})
		}
		slices.SortFunc(list, func(a, b Count) int { return a.Bucket - b.Bucket })
		out[i].Counts = list
	}
	slices.SortFunc(out, func(a, b Cluster) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Pattern, b.Pattern), cmp.Compare(a.Class, b.Class))
	})
	return out
}

const anything = "<_>"

// pattern renders the cluster. Values side by side, or with nothing between
// them but what holds a path or a time together, are one.
func (c *cluster) pattern() string {
	var b strings.Builder
	at := 0
	value := false // the text so far ends in <_>
	for _, w := range c.words {
		between := c.text[at:w.start]
		at = w.end
		if w.hash != valueHash {
			b.WriteString(between)
			b.WriteString(c.text[w.start:w.end])
			value = false
			continue
		}
		if value && (between == "" || len(between) == 1 && strings.ContainsAny(between, "/.:-")) {
			continue
		}
		b.WriteString(between)
		b.WriteString(anything)
		value = true
	}
	rest := c.text[at:]
	b.WriteString(rest)
	if c.cut && (!value || rest != "") {
		b.WriteString(anything)
	}
	return b.String()
}
