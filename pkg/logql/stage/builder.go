package stage

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"
)

// Labels that the stages themselves set.
const (
	ErrorLabel         = "__error__"
	ErrorDetailsLabel  = "__error_details__"
	PreserveErrorLabel = "__preserve_error__"
)

// The values of __error__.
const (
	ErrJSON             = "JSONParserErr"
	ErrLogfmt           = "LogfmtParserErr"
	ErrSampleExtraction = "SampleExtractionErr"
	ErrLabelFilter      = "LabelFilterErr"
	ErrTemplateFormat   = "TemplateFormatErr"
)

// extractedSuffix is put behind the name of a label that an entry brings when
// its stream has one of the same name.
const extractedSuffix = "_extracted"

// indexAbove is the number of pairs from which names are looked up in a map
// instead of one after the other: a hostile line may have 100,000 keys.
const indexAbove = 64

// Category says where a label comes from.
type Category uint8

const (
	// Stream labels identify the stream in the store.
	Stream Category = iota
	// Metadata is structured metadata, stored with the entry.
	Metadata
	// Parsed labels were made by a stage, errors included.
	Parsed
)

// pair is a label that does not come from the stream.
type pair struct {
	name, value string
	cat         Category
}

// Builder holds the labels of the entry at hand: those of its stream, its
// structured metadata and what stages add or take away. It belongs to one
// Runner and one goroutine. The strings it hands out and keeps may alias the
// line or its scratch memory: they are valid until the next Reset.
type Builder struct {
	stream []labels.Label
	gone   []bool // parallel to stream: dropped or overwritten for this entry
	nGone  int

	pairs []pair
	index map[string]int // name → place in pairs; used when indexed
	isIdx bool

	err, details string
	preserve     bool

	hints   *Hints
	found   int // required labels that parsers have found in this line
	missing int // required labels that the stream does not have, 0 if unknown
	scratch []byte
	watch   watch // for stages to which a line can be much work
}

// Reset starts an entry of a stream with these labels. It keeps stream until
// the next Reset.
func (b *Builder) Reset(stream []labels.Label, meta labels.Labels) {
	b.stream = stream
	if b.nGone > 0 || len(b.gone) != len(stream) {
		b.gone = slices.Grow(b.gone[:0], len(stream))[:len(stream)]
		clear(b.gone)
		b.nGone = 0
	}
	b.pairs = b.pairs[:0]
	b.isIdx = false
	b.err, b.details, b.preserve = "", "", false
	b.found = 0
	b.scratch = b.scratch[:0]
	if meta.IsEmpty() {
		return
	}
	meta.Range(func(l labels.Label) {
		name := l.Name
		if b.streamAt(name) >= 0 {
			name = b.join(name, extractedSuffix)
		}
		if b.find(name) < 0 {
			b.add(name, l.Value, Metadata)
		}
	})
}

// streamAt is the place of a stream label, or -1.
func (b *Builder) streamAt(name string) int {
	for i := range b.stream {
		if b.stream[i].Name == name {
			return i
		}
	}
	return -1
}

// find is the place of a pair, or -1.
func (b *Builder) find(name string) int {
	if len(b.pairs) > indexAbove {
		return b.findIndexed(name)
	}
	for i := range b.pairs {
		if b.pairs[i].name == name {
			return i
		}
	}
	return -1
}

func (b *Builder) findIndexed(name string) int {
	if !b.isIdx {
		if b.index == nil {
			b.index = make(map[string]int, 2*indexAbove)
		}
		clear(b.index)
		for i := range b.pairs {
			b.index[b.pairs[i].name] = i
		}
		b.isIdx = true
	}
	if i, ok := b.index[name]; ok {
		return i
	}
	return -1
}

func (b *Builder) add(name, value string, c Category) {
	if b.isIdx {
		b.index[name] = len(b.pairs)
	}
	b.pairs = append(b.pairs, pair{name, value, c})
}

// Get returns the value of a label and whether it is there.
func (b *Builder) Get(name string) (string, bool) {
	if i := b.find(name); i >= 0 {
		return b.pairs[i].value, true
	}
	if i := b.streamAt(name); i >= 0 && !b.gone[i] {
		return b.stream[i].Value, true
	}
	switch name {
	case ErrorLabel:
		return b.err, b.err != ""
	case ErrorDetailsLabel:
		return b.details, b.details != ""
	case PreserveErrorLabel:
		if b.preserve {
			return "true", true
		}
	}
	return "", false
}

// Set gives a label a value, as label_format does: it replaces one of the same
// name wherever that came from, and the result counts as parsed.
func (b *Builder) Set(name, value string) {
	switch name {
	case ErrorLabel:
		b.err = value
		return
	case ErrorDetailsLabel:
		b.details = value
		return
	}
	if i := b.streamAt(name); i >= 0 && !b.gone[i] {
		b.gone[i] = true
		b.nGone++
	}
	if i := b.find(name); i >= 0 {
		b.pairs[i].value, b.pairs[i].cat = value, Parsed
		return
	}
	b.add(name, value, Parsed)
}

// Del takes a label away.
func (b *Builder) Del(name string) {
	switch name {
	case ErrorLabel:
		b.err = ""
	case ErrorDetailsLabel:
		b.details = ""
	case PreserveErrorLabel:
		b.preserve = false
	}
	if i := b.streamAt(name); i >= 0 && !b.gone[i] {
		b.gone[i] = true
		b.nGone++
	}
	if i := b.find(name); i >= 0 {
		b.remove(i)
	}
}

// remove takes a pair away and puts the last one into its place, so that
// many labels can be dropped of a line that has many.
func (b *Builder) remove(i int) {
	last := len(b.pairs) - 1
	if b.isIdx {
		delete(b.index, b.pairs[i].name)
		if i < last {
			b.index[b.pairs[last].name] = i
		}
	}
	b.pairs[i] = b.pairs[last]
	b.pairs = b.pairs[:last]
}

// wants says whether a parser should extract a label of this name: it was
// not extracted before and something reads it.
func (b *Builder) wants(name string) bool {
	if b.hints == nil || b.hints.All {
		return true
	}
	return b.hints.needs(name)
}

// extract adds what a parser found. The first value of a name wins; a name
// that the stream or the entry's metadata has gets a suffix. It reports
// whether the parser may stop, because nothing else is needed: neither a label
// nor, where the query looks at __error__, what is wrong with the rest of the line.
func (b *Builder) extract(name, value string) (done bool) {
	return b.extractAs(name, value, false)
}

// extractAs is extract. With again it replaces what another stage found: so do
// the expressions of json and logfmt, which ask for a label by its name.
func (b *Builder) extractAs(name, value string, again bool) (done bool) {
	if b.hints != nil && !b.hints.mayNeed(name) {
		return false
	}
	i := b.find(name)
	if (i >= 0 && b.pairs[i].cat == Metadata) || b.streamAt(name) >= 0 {
		name = b.join(name, extractedSuffix)
		i = b.find(name)
	}
	if i >= 0 && b.pairs[i].cat == Parsed {
		if again {
			b.pairs[i].value = b.clean(value)
		}
		return false
	}
	if !b.wants(name) {
		return false
	}
	value = b.clean(value)
	if i >= 0 {
		b.pairs[i].value, b.pairs[i].cat = value, Parsed
	} else {
		b.add(name, value, Parsed)
	}
	b.found++
	return b.hints != nil && !b.hints.All && !b.hints.PreserveError && b.found >= b.hints.parserNames
}

// enough says that every label that a parser can still give anything has been
// found. A parser that reports errors must not stop at that: it would pass
// over some, where Loki, which waits for labels of the stream too, does not.
func (b *Builder) enough() bool {
	return b.missing > 0 && b.found >= b.missing
}

// stored says whether the stream or the entry's metadata has the label.
func (b *Builder) stored(name string) bool {
	if b.streamAt(name) >= 0 {
		return true
	}
	i := b.find(name)
	return i >= 0 && b.pairs[i].cat == Metadata
}

// SetErr marks the entry as failed. A later error replaces an earlier one.
//
// Where a query that groups by names looks at errors, those of parsers are results
// like any other. Those of later stages are not, as in Loki: a filter in front of an unwrap does
// not mean what unwrap makes of the rest.
func (b *Builder) SetErr(kind, details string) {
	b.err, b.details = kind, details
	if b.hints != nil && b.hints.PreserveError && (kind == ErrJSON || kind == ErrLogfmt) {
		b.preserve = true
	}
}

// Err is the value of __error__, empty when all went well.
func (b *Builder) Err() string { return b.err }

// failed says whether a metric query has to stop at this entry.
func (b *Builder) failed() bool { return b.err != "" && !b.preserve }

// keep copies p into scratch memory and returns it as a string that is valid
// until the next Reset.
func (b *Builder) keep(p []byte) string {
	if len(p) == 0 {
		return ""
	}
	n := len(b.scratch)
	b.scratch = append(b.scratch, p...)
	return unsafe.String(&b.scratch[n], len(p))
}

// join is keep of x followed by y.
func (b *Builder) join(x, y string) string {
	n := len(b.scratch)
	b.scratch = append(append(b.scratch, x...), y...)
	return unsafe.String(&b.scratch[n], len(x)+len(y))
}

// tail returns scratch memory from n on as a string. Whoever wrote it gives
// it away: nothing may change these bytes until the next Reset.
func (b *Builder) tail(n int) string {
	if n == len(b.scratch) {
		return ""
	}
	return unsafe.String(&b.scratch[n], len(b.scratch)-n)
}

// clean replaces invalid UTF-8 by blanks, as Loki does in label values.
func (b *Builder) clean(v string) string {
	if isASCII(v) || validUTF8(v) {
		return v
	}
	n := len(b.scratch)
	b.scratch = appendValid(b.scratch, v)
	return b.tail(n)
}

// each calls f for every label of the entry, in no particular order.
func (b *Builder) each(f func(name, value string, c Category)) {
	for i := range b.stream {
		if !b.gone[i] {
			f(b.stream[i].Name, b.stream[i].Value, Stream)
		}
	}
	for i := range b.pairs {
		f(b.pairs[i].name, b.pairs[i].value, b.pairs[i].cat)
	}
	if b.err != "" {
		f(ErrorLabel, b.err, Parsed)
	}
	if b.details != "" {
		f(ErrorDetailsLabel, b.details, Parsed)
	}
	if b.preserve {
		f(PreserveErrorLabel, "true", Parsed)
	}
}

// untouched says that the labels are exactly those of the stream.
func (b *Builder) untouched() bool {
	return b.nGone == 0 && len(b.pairs) == 0 && b.err == "" && b.details == "" && !b.preserve
}

// appendKey appends bytes that are different for different label sets of one
// stream. Equal sets whose labels came in another order may differ too: sorting
// every line's labels would cost more than a second entry in a cache.
func (b *Builder) appendKey(key []byte) []byte {
	if b.nGone > 0 {
		for i, g := range b.gone {
			if g {
				key = binary.AppendUvarint(key, uint64(i)+1)
			}
		}
	}
	key = append(key, 0)
	for i := range b.pairs {
		key = append(key, byte(b.pairs[i].cat))
		key = appendString(key, b.pairs[i].name)
		key = appendString(key, b.pairs[i].value)
	}
	if b.err != "" || b.details != "" || b.preserve {
		key = append(key, 0xff)
		key = appendString(key, b.err)
		key = appendString(key, b.details)
		if b.preserve {
			key = append(key, 1)
		}
	}
	return key
}

func appendString(key []byte, s string) []byte {
	key = binary.AppendUvarint(key, uint64(len(s)))
	return append(key, s...)
}
