package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
)

// deletion is a delete request. It concerns the blocks that existed then.
type deletion struct {
	ID       uint64          `json:"id"`
	Time     time.Time       `json:"time"`
	Matchers []deleteMatcher `json:"matchers"`
	Start    int64           `json:"start"`
	End      int64           `json:"end"`
	// Filter and Query are those of model.DeleteRequest.
	Filter string `json:"filter,omitempty"`
	Query  string `json:"query,omitempty"`
	// MaxSeq is the newest flush that is concerned.
	MaxSeq uint64 `json:"maxSeq"`
	// Blocks is the number of blocks that were concerned in the beginning.
	Blocks int `json:"blocks,omitempty"`
	// Begun says that a block has been written anew without the entries.
	Begun bool `json:"begun,omitempty"`

	parsed []*labels.Matcher
	// filter is Filter, compiled. unreadable says that this failed: a newer program
	// may have written it. Readers then see no entry that Filter might choose, and
	// nothing is carried out.
	filter     *model.EntryFilter
	unreadable bool
}

type deleteMatcher struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (d *deletion) timeRange() model.TimeRange { return model.TimeRange{Start: d.Start, End: d.End} }

// name is the request's ID for people.
func (d *deletion) name() string { return fmt.Sprintf("%08x", d.ID) }

// concerns says whether entries of the block may have to be left out.
func (d *deletion) concerns(m *block.Meta) bool {
	return m.MaxSeq <= d.MaxSeq && m.DeletesApplied < d.ID && d.timeRange().Overlaps(m.MinTime, m.MaxTime)
}

var matchTypes = map[string]labels.MatchType{
	labels.MatchEqual.String():     labels.MatchEqual,
	labels.MatchNotEqual.String():  labels.MatchNotEqual,
	labels.MatchRegexp.String():    labels.MatchRegexp,
	labels.MatchNotRegexp.String(): labels.MatchNotRegexp,
}

func (d *deletion) parse() error {
	d.parsed = nil
	for _, m := range d.Matchers {
		t, ok := matchTypes[m.Type]
		if !ok {
			return fmt.Errorf("unknown matcher type %q", m.Type)
		}
		lm, err := labels.NewMatcher(t, m.Name, m.Value)
		if err != nil {
			return err
		}
		d.parsed = append(d.parsed, lm)
	}
	return nil
}

// compileFilters makes the filters of a manifest that was read usable.
func (db *DB) compileFilters(m *manifest) {
	for i := range m.Deletes {
		d := &m.Deletes[i]
		if d.Filter == "" {
			continue
		}
		var err error
		if d.filter, err = db.compileFilter(d.Filter); err != nil {
			d.unreadable = true
			db.log.Error("the filter of a delete request cannot be understood: all entries that its selector names stay hidden until a program that understands it carries it out, or it is cancelled",
				"request", d.name(), "query", d.Query, "err", err)
			db.noteError(err)
		}
	}
}

func (db *DB) compileFilter(text string) (*model.EntryFilter, error) {
	if db.opts.CompileFilter == nil {
		return nil, &InvalidDeleteError{Reason: "it has a filter, which this store was not set up to understand"}
	}
	f, err := db.opts.CompileFilter(text)
	if err != nil {
		return nil, &InvalidDeleteError{Reason: err.Error()}
	}
	return f, nil
}

// Delete removes the entries of the streams that all matchers match, inside the
// range and chosen by the filter, that are in the store now. No reader sees them
// any more when it returns; their space is given back by compaction, after
// Options.DeleteDelay. Entries that arrive later are not concerned. The request's
// ID is returned; the request survives restarts.
//
// Errors: *InvalidDeleteError, ErrClosed, ctx's, *DiskFullError.
func (db *DB) Delete(ctx context.Context, req model.DeleteRequest) (id string, err error) {
	if err := db.check(ctx); err != nil {
		return "", err
	}
	if len(req.Matchers) == 0 {
		return "", &InvalidDeleteError{Reason: "it needs at least one matcher"}
	}
	if _, empty := closed(req.Range); empty {
		return "", &InvalidDeleteError{Reason: "its end is not after its start"}
	}
	if len(req.Filter)+len(req.Query) > maxDeleteText {
		return "", &InvalidDeleteError{Reason: fmt.Sprintf("it is longer than %d bytes", maxDeleteText)}
	}
	d := deletion{Time: db.opts.Now().UTC(), Start: req.Range.Start, End: req.Range.End, Filter: strings.Clone(req.Filter), Query: strings.Clone(req.Query), parsed: slices.Clone(req.Matchers)}
	for _, m := range req.Matchers {
		d.Matchers = append(d.Matchers, deleteMatcher{Type: m.Type.String(), Name: strings.Clone(m.Name), Value: strings.Clone(m.Value)})
	}
	if d.Filter != "" {
		if d.filter, err = db.compileFilter(d.Filter); err != nil {
			return "", err
		}
	}
	// What is in memory has to become a block: only blocks have a number that
	// tells what was there before.
	if err := db.flush(ctx); err != nil {
		return "", err
	}
	_, err = db.publish(nil, nil, func(m *manifest) error {
		if len(m.Deletes) >= maxPendingDeletes {
			return &InvalidDeleteError{Reason: fmt.Sprintf("%d delete requests have not been carried out: wait, or cancel some", len(m.Deletes))}
		}
		d.ID = m.NextDeleteID
		d.MaxSeq = m.NextSeq - 1
		d.Blocks = db.concernedBlocks(m, &d)
		m.NextDeleteID++
		m.Deletes = append(m.Deletes, d)
		db.forgetDeletes(m, nil)
		return nil
	}, func() {})
	if err != nil {
		return "", err
	}
	wake(db.workKick)
	return d.name(), nil
}

// CancelDelete takes a delete request back: its entries can be seen again. Once
// compaction has begun to carry it out that is refused with a *DeleteBegunError,
// unless force is set: then the entries that are still there come back, the
// others are gone. ErrNoDelete says that there is no such request.
func (db *DB) CancelDelete(ctx context.Context, id string, force bool) error {
	if err := db.check(ctx); err != nil {
		return err
	}
	_, err := db.publish(nil, nil, func(m *manifest) error {
		for i := range m.Deletes {
			d := &m.Deletes[i]
			if d.name() != id {
				continue
			}
			if d.Begun && !force {
				return &DeleteBegunError{ID: id}
			}
			m.Deletes = slices.Delete(m.Deletes, i, i+1)
			return nil
		}
		for i := range m.Processed {
			if m.Processed[i].name() == id {
				return &DeleteBegunError{ID: id, Processed: true}
			}
		}
		return fmt.Errorf("%w: %q", ErrNoDelete, id)
	}, func() {})
	return err
}

// DeleteRequests lists delete requests in the order of their creation: all that
// have not been carried out, and the last few that have.
func (db *DB) DeleteRequests() []model.DeleteStatus {
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	m := db.manifest
	out := make([]model.DeleteStatus, 0, len(m.Processed)+len(m.Deletes))
	add := func(d *deletion) *model.DeleteStatus {
		out = append(out, model.DeleteStatus{ID: d.name(), Query: d.Query, Range: d.timeRange(), Created: d.Time})
		return &out[len(out)-1]
	}
	for i := range m.Processed {
		add(&m.Processed[i]).State = model.DeleteProcessed
	}
	for i := range m.Deletes {
		d := &m.Deletes[i]
		s := add(d)
		if !d.Begun {
			continue
		}
		s.State = model.DeleteBegun
		if total := d.Blocks; total > 0 {
			s.Percent = min(max(100*(total-db.concernedBlocks(m, d))/total, 0), 99)
		}
	}
	slices.SortFunc(out, func(a, b model.DeleteStatus) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// concernedBlocks counts the blocks of the manifest that a request concerns,
// under manifestMu.
func (db *DB) concernedBlocks(m *manifest, d *deletion) (n int) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	for _, b := range db.blocks {
		if d.concerns(&b.Meta) && slices.Contains(m.Blocks, b.Meta.ID) {
			n++
		}
	}
	return n
}

// forgetDeletes files the delete requests that concern no block any more under
// those that have been carried out. fresh are blocks that are about to exist.
func (db *DB) forgetDeletes(m *manifest, fresh []*block.Meta) {
	m.Deletes = slices.DeleteFunc(m.Deletes, func(d deletion) bool {
		for _, f := range fresh {
			if d.concerns(f) {
				return false
			}
		}
		if db.concernedBlocks(m, &d) > 0 {
			return false
		}
		m.Processed = append(m.Processed, d)
		return true
	})
	if n := len(m.Processed) - maxProcessedDeletes; n > 0 {
		m.Processed = slices.Delete(m.Processed, 0, n)
	}
}

// dueDeletes returns the number of the newest delete request that compaction may
// carry out: all up to it are, so that one number in a block tells which have
// been.
func (db *DB) dueDeletes(deletes []deletion) uint64 {
	due := uint64(0)
	now := db.opts.Now()
	for i := range deletes {
		d := &deletes[i]
		if !d.unreadable && (d.Begun || !d.Time.Add(db.opts.DeleteDelay).After(now)) {
			due = max(due, d.ID)
		}
	}
	return due
}

// upTo returns the delete requests that may be carried out when due is their
// newest, for the blocks of set.
func upTo(deletes []deletion, due uint64, set []*block.Block) []deletion {
	for _, b := range set {
		// What has been carried out in one of them has to be in the others: there is
		// one number for their successor.
		due = max(due, b.Meta.DeletesApplied)
	}
	var out []deletion
	for i := range deletes {
		if deletes[i].ID <= due {
			out = append(out, deletes[i])
		}
	}
	return out
}

// concerned returns the delete requests that concern a block.
func concerned(deletes []deletion, b *block.Block) []deletion {
	var out []deletion
	for i := range deletes {
		if deletes[i].concerns(&b.Meta) {
			out = append(out, deletes[i])
		}
	}
	return out
}

// drop is what a delete request takes from one stream.
type drop struct {
	closedRange
	filter *boundFilter // nil: all entries of the range
}

// boundFilter is a filter for one stream.
type boundFilter struct {
	*model.EntryFilter
	labels labels.Labels
	match  func(ts int64, line string, metadata labels.Labels) bool // nil before its first use
}

func (f *boundFilter) matches(ts int64, line string, metadata labels.Labels) bool {
	if f.match == nil {
		f.match = f.Stream(f.labels)
	}
	return f.match(ts, line, metadata)
}

// covered says whether one of the ranges holds all of r.
func covered(drops []drop, r closedRange) bool {
	for i := range drops {
		if drops[i].filter == nil && r.within(drops[i].closedRange) {
			return true
		}
	}
	return false
}

// dropped says whether an entry is deleted for its time alone.
func dropped(drops []drop, t int64) bool {
	for i := range drops {
		if drops[i].filter == nil && drops[i].contains(t) {
			return true
		}
	}
	return false
}

// droppedEntry says whether an entry is deleted for its time or by a filter.
func droppedEntry(drops []drop, t int64, line string, metadata labels.Labels) bool {
	for i := range drops {
		d := &drops[i]
		if d.contains(t) && (d.filter == nil || d.filter.matches(t, line, metadata)) {
			return true
		}
	}
	return false
}

// goneRows are the rows of a part that filters of delete requests choose.
type goneRows struct {
	bits []uint64 // by row of the chunk block
	// rows and bytes are their number and size by stream number of the chunk
	// block, without those that are deleted for their time alone.
	rows, bytes []int64
	some        bool
}

func (g *goneRows) has(row int) bool { return g.bits[row>>6]&(1<<(row&63)) != 0 }

// textDecoder decodes for findGone: what readers have decoded must stay.
type textDecoder struct {
	dec  *chunk.Decoder
	rows chunk.Rows
}

// findGone reads the text of a part that filters of delete requests concern, once,
// so that readers which look at times only know what is left.
func (s *sources) findGone(p *part) error {
	if !p.filtered || p.gone != nil {
		return nil
	}
	g := &goneRows{bits: make([]uint64, (p.chunk.Rows+63)/64), rows: make([]int64, len(p.locals)), bytes: make([]int64, len(p.locals))}
	cb, err := p.open()
	if err != nil {
		return err
	}
	if may, err := p.filtersMayMatch(cb.MayContain); err != nil || !may {
		p.gone = g
		return err
	}
	if s.goneDec == nil {
		dec, err := chunk.NewDecoder()
		if err != nil {
			return err
		}
		s.goneDec = &textDecoder{dec: dec}
	}
	d := &s.goneDec.rows
	if err := cb.DecodeRange(s.goneDec.dec, d, p.fromRow, p.toRow); err != nil {
		return err
	}
	s.stats.Bytes += p.chunk.Bytes
	s.stats.CompressedBytes += int64(p.chunk.Size)
	for i, t := range d.Timestamps {
		l := int(d.Stream[i])
		if l >= len(p.drops) || len(p.drops[l]) == 0 || dropped(p.drops[l], t) {
			continue
		}
		var md labels.Labels
		if len(d.Metadata) > 0 {
			md = d.Metadata[i]
		}
		if droppedEntry(p.drops[l], t, d.Lines[i], md) {
			row := p.fromRow + i
			g.bits[row>>6] |= 1 << (row & 63)
			g.rows[l]++
			g.bytes[l] += int64(len(d.Lines[i])) + metadataBytes(md)
			g.some = true
		}
	}
	p.gone = g
	return nil
}

// filtersMayMatch says whether the text of a part may hold what one of its filters
// needs.
func (p *part) filtersMayMatch(mayContain func([]string) (bool, error)) (bool, error) {
	known := map[*model.EntryFilter]bool{}
	for _, drops := range p.drops {
		for i := range drops {
			f := drops[i].filter
			if f == nil || known[f.EntryFilter] {
				continue
			}
			known[f.EntryFilter] = true
			if may, err := mayContain(f.Contains); may || err != nil {
				return may, err
			}
		}
	}
	return false, nil
}
