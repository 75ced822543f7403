package server

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/dustin/go-humanize"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Names of the parsers that lines are tried with.
const (
	parserJSON   = "json"
	parserLogfmt = "logfmt"
)

var onlyJSON, onlyLogfmt = []string{parserJSON}, []string{parserLogfmt}

// maxFieldValues bounds the different values that all fields together are
// counted by: 5000 lines may have many thousand keys each. Beyond it known
// fields keep the cardinality that they have.
const maxFieldValues = 1 << 20

// maxPathLines is how many lines are searched for the paths of JSON fields: a
// line has most of them, and one that is not found would cost every line.
const maxPathLines = 100

// maxPath is the number of keys that a path has at most.
const maxPath = 64

// extractedSuffix is what a field gets whose name a stream label has.
const extractedSuffix = "_extracted"

// fieldDetector collects the fields of entries: structured metadata, labels
// that the query's parsers made, and what json or, where that fails, logfmt
// finds in the line.
type fieldDetector struct {
	limit   int
	parsers []string // of the query, in its order
	// exprPaths are the paths of json stages with expressions, by label.
	exprPaths map[string][]string
	json      *lineParser
	logfmt    *lineParser
	found     map[string]*field
	values    int // counted so far, over all fields
	pathLines int // searched for paths so far
	// paths are those of the JSON fields of the entry that is looked at, nil
	// until they are needed.
	paths map[string][]string
	// wanted is the one field whose values are kept.
	wanted string
	kept   map[string]struct{}
}

// field is what is known of one name.
type field struct {
	types    fieldTypes
	values   map[uint64]struct{} // hashes
	metadata bool                // seen as structured metadata
	parsers  []string
	path     []string
}

func newFieldDetector(query *logql.LogSelector, limit int) (*fieldDetector, error) {
	d := &fieldDetector{limit: limit, found: map[string]*field{}, exprPaths: map[string][]string{}, kept: map[string]struct{}{}}
	for _, st := range query.Stages {
		switch st := st.(type) {
		case *logql.JSONParser:
			d.parsers = append(d.parsers, parserJSON)
			for _, x := range st.Extractions {
				d.exprPaths[x.Label] = pathKeys(x.Expr)
			}
		case *logql.LogfmtParser:
			d.parsers = append(d.parsers, parserLogfmt)
		case *logql.RegexpParser:
			d.parsers = append(d.parsers, "regexp")
		case *logql.PatternParser:
			d.parsers = append(d.parsers, "pattern")
		case *logql.Unpack:
			d.parsers = append(d.parsers, "unpack")
		}
	}
	slices.Sort(d.parsers)
	d.parsers = slices.Compact(d.parsers)
	var err error
	if d.json, err = newLineParser(&logql.JSONParser{}); err != nil {
		return nil, err
	}
	d.logfmt, err = newLineParser(&logql.LogfmtParser{})
	return d, err
}

// pathKeys is a path expression as a list of keys; numbers stand for indexes.
func pathKeys(expr string) []string {
	parts, err := logql.ParseJSONPath(expr)
	if err != nil { // the query has been validated
		return nil
	}
	keys := make([]string, len(parts))
	for i, p := range parts {
		if keys[i] = p.Key; p.IsIndex {
			keys[i] = strconv.Itoa(p.Index)
		}
	}
	return keys
}

// add takes the fields out of one entry.
func (d *fieldDetector) add(e *engine.LiveEntry) error {
	d.paths = nil
	d.json.known, d.logfmt.known = false, false
	e.StructuredMetadata.Range(func(l labels.Label) {
		if f := d.note(l); f != nil {
			f.metadata = true
		}
	})
	switch len(d.parsers) {
	case 0:
		d.addParsed(e, e.Parsed, nil)
	case 1:
		d.addParsed(e, e.Parsed, d.parsers)
	default:
		if err := d.addByParser(e); err != nil {
			return err
		}
	}
	// The line's own fields count in any case: a query with logfmt, asked for the
	// fields of a stream that logs JSON, too, has to show those.
	return d.addUnparsed(e)
}

// addUnparsed tries json and then logfmt on the line.
func (d *fieldDetector) addUnparsed(e *engine.LiveEntry) error {
	for _, p := range [...]struct {
		*lineParser
		names []string
	}{{d.json, onlyJSON}, {d.logfmt, onlyLogfmt}} {
		parsed, err := p.parse(e)
		if err != nil {
			return err
		}
		if parsed.Has(stage.ErrorLabel) {
			continue
		}
		d.addParsed(e, parsed, p.names)
		return nil
	}
	return nil
}

// addByParser finds out which of several parsers of the query made each label:
// those that find it in the line by themselves, else all others of the query.
func (d *fieldDetector) addByParser(e *engine.LiveEntry) error {
	var by [2]labels.Labels
	for i, p := range [...]struct {
		*lineParser
		name string
	}{{d.json, parserJSON}, {d.logfmt, parserLogfmt}} {
		if !slices.Contains(d.parsers, p.name) {
			continue
		}
		parsed, err := p.parse(e)
		if err != nil {
			return err
		}
		by[i] = parsed
	}
	others := slices.DeleteFunc(slices.Clone(d.parsers), func(p string) bool { return p == parserJSON || p == parserLogfmt })
	if len(others) == 0 {
		others = d.parsers
	}
	// Get walks a set from its start: with thousands of labels, once for each is
	// too often.
	json, logfmt := by[0].Map(), by[1].Map()
	e.Parsed.Range(func(l labels.Label) {
		names := others
		// logfmt makes something of the pieces of a JSON line too: what json
		// finds is json's.
		if json[l.Name] == l.Value {
			names = onlyJSON
		} else if logfmt[l.Name] == l.Value {
			names = onlyLogfmt
		}
		d.addLabel(e, l, names)
	})
	return nil
}

// addParsed notes labels that parsers made.
func (d *fieldDetector) addParsed(e *engine.LiveEntry, parsed labels.Labels, parsers []string) {
	parsed.Range(func(l labels.Label) { d.addLabel(e, l, parsers) })
}

func (d *fieldDetector) addLabel(e *engine.LiveEntry, l labels.Label, parsers []string) {
	if l.Name == stage.ErrorLabel || l.Name == stage.ErrorDetailsLabel {
		return
	}
	f := d.note(l)
	if f == nil {
		return
	}
	for _, p := range parsers {
		if !slices.Contains(f.parsers, p) {
			f.parsers = append(f.parsers, p)
		}
	}
	if f.path != nil || !slices.Contains(parsers, parserJSON) {
		return
	}
	if f.path = d.exprPaths[l.Name]; f.path != nil {
		return
	}
	if d.paths == nil {
		if d.pathLines == maxPathLines {
			return
		}
		d.pathLines++
		d.paths = jsonPaths(e.Line)
	}
	if f.path = d.paths[l.Name]; f.path == nil {
		f.path = d.paths[strings.TrimSuffix(l.Name, extractedSuffix)]
	}
}

// note counts a value. It returns nil for a name beyond the limit.
func (d *fieldDetector) note(l labels.Label) *field {
	if l.Value == "" {
		return nil
	}
	if d.wanted != "" {
		if l.Name == d.wanted && len(d.kept) < d.limit {
			if _, ok := d.kept[l.Value]; !ok {
				d.kept[strings.Clone(l.Value)] = struct{}{}
			}
		}
		return nil
	}
	f := d.found[l.Name]
	if f == nil {
		if len(d.found) >= d.limit {
			return nil
		}
		f = &field{types: allFieldTypes, values: map[uint64]struct{}{}}
		d.found[strings.Clone(l.Name)] = f
	}
	f.types = f.types.agree(l.Value)
	h := xxhash.Sum64String(l.Value)
	if _, ok := f.values[h]; !ok && d.values < maxFieldValues {
		d.values++
		f.values[h] = struct{}{}
	}
	return f
}

// fields returns what was found, sorted by name.
func (d *fieldDetector) fields() []lokiapi.DetectedField {
	out := make([]lokiapi.DetectedField, 0, len(d.found))
	for name, f := range d.found {
		// Clients tell structured metadata by null from labels that are made
		// without a parser, an empty list.
		if f.parsers == nil && !f.metadata {
			f.parsers = []string{}
		}
		slices.Sort(f.parsers)
		out = append(out, lokiapi.DetectedField{
			Label: name, Type: f.types.name(), Cardinality: uint64(len(f.values)), Parsers: f.parsers, JSONPath: f.path,
		})
	}
	slices.SortFunc(out, func(a, b lokiapi.DetectedField) int { return strings.Compare(a.Label, b.Label) })
	return out
}

// wantedValues returns the values of the wanted field, sorted.
func (d *fieldDetector) wantedValues() []string {
	out := make([]string, 0, len(d.kept))
	for v := range d.kept {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

// lineParser runs one parser over single entries.
type lineParser struct {
	stages []logql.Stage
	p      *stage.Pipeline
	budget *stage.Budget
	batch  model.EntryBatch
	index  map[string]uint32 // of a stream's labels in batch.Streams
	// known says that parsed are the labels of the entry that is looked at: a line
	// is parsed once, however many ask.
	known  bool
	parsed labels.Labels
}

// maxParserCache bounds the label sets that a lineParser remembers.
const maxParserCache = 4 << 20

func newLineParser(st logql.Stage) (*lineParser, error) {
	p := &lineParser{stages: []logql.Stage{st}}
	return p, p.renew()
}

// renew forgets all caches.
func (p *lineParser) renew() (err error) {
	p.budget = &stage.Budget{Limit: maxParserCache}
	p.batch = model.EntryBatch{}
	p.index = map[string]uint32{}
	p.p, err = stage.NewPipeline(p.stages, stage.Config{Budget: p.budget})
	return err
}

// parse returns the labels that the parser makes of the line of the entry that is
// looked at, until known is taken back.
func (p *lineParser) parse(e *engine.LiveEntry) (labels.Labels, error) {
	if p.known {
		return p.parsed, nil
	}
	if p.budget.Exceeded() {
		if err := p.renew(); err != nil {
			return labels.EmptyLabels(), err
		}
	}
	b := &p.batch
	key := e.Labels.String()
	i, ok := p.index[key]
	if !ok {
		i = uint32(len(b.Streams))
		p.index[key] = i
		b.Streams = append(b.Streams, e.Labels)
	}
	b.Reset()
	b.StreamIndex = append(b.StreamIndex, i)
	b.Timestamps = append(b.Timestamps, e.Timestamp)
	b.Lines = append(b.Lines, e.Line)
	b.Metadata = append(b.Metadata, e.StructuredMetadata)
	p.known, p.parsed = true, labels.EmptyLabels()
	if _, ok := p.p.Row(b, 0); ok {
		p.parsed = p.p.Labels().Parsed
	}
	return p.parsed, nil
}

// jsonPaths maps the label names that json makes of a line to the keys that
// lead to their values.
func jsonPaths(line string) map[string][]string {
	paths := map[string][]string{}
	var object map[string]any
	if json.Unmarshal([]byte(line), &object) != nil {
		return paths
	}
	var walk func(m map[string]any, at []string)
	walk = func(m map[string]any, at []string) {
		for k, v := range m {
			path := append(at, k) //nolint:gocritic // at ends where path begins
			if inner, ok := v.(map[string]any); !ok {
				paths[stage.SanitizeName(strings.Join(path, "_"))] = slices.Clone(path)
			} else if len(path) < maxPath {
				walk(inner, path)
			}
		}
	}
	walk(object, make([]string, 0, maxPath))
	return paths
}

// fieldTypes is a set of types that all values of a field agree on.
type fieldTypes uint8

const (
	isInt fieldTypes = 1 << iota
	isFloat
	isBoolean
	isDuration
	isBytes
	allFieldTypes = isInt | isFloat | isBoolean | isDuration | isBytes
)

// agree leaves the types that value has too.
func (t fieldTypes) agree(value string) fieldTypes {
	for _, test := range fieldTests {
		if t&test.bit != 0 && !test.ok(value) {
			t &^= test.bit
		}
	}
	return t
}

// name is the first type that is left.
func (t fieldTypes) name() string {
	for _, test := range fieldTests {
		if t&test.bit != 0 {
			return test.name
		}
	}
	return lokiapi.FieldString
}

// fieldTests are the types in the order in which they are tried.
var fieldTests = [...]struct {
	bit  fieldTypes
	name string
	ok   func(string) bool
}{
	{isInt, lokiapi.FieldInt, func(s string) bool {
		_, err := strconv.ParseInt(s, 10, 64)
		return err == nil
	}},
	{isFloat, lokiapi.FieldFloat, func(s string) bool {
		// Words like "inf" and "nan" are no numbers to a reader of logs.
		v, err := strconv.ParseFloat(s, 64)
		return err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
	}},
	{isBoolean, lokiapi.FieldBoolean, func(s string) bool {
		_, err := strconv.ParseBool(s)
		return err == nil
	}},
	{isDuration, lokiapi.FieldDuration, func(s string) bool {
		_, err := time.ParseDuration(s)
		return err == nil
	}},
	{isBytes, lokiapi.FieldBytes, func(s string) bool {
		_, err := humanize.ParseBytes(s)
		return err == nil
	}},
}
