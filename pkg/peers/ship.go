package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// shipment is the head of a request that hands entries over; batch frames follow.
type shipment struct {
	// Mark names the lane at the receiver, From is where the sender thinks that it
	// is, To where it is afterwards. Without a mark the entries are new ones, which
	// a replica that leaves does not store itself any more.
	Mark string   `json:"mark,omitempty"`
	From position `json:"from"`
	To   position `json:"to"`
	// Middle says that the shipment before had entries of the first stream and
	// timestamp of this one.
	Middle bool `json:"middle,omitempty"`
}

// ship hands entries over and returns where the lane is now. The receiver stores
// entries and position in one piece, and only where From is right: entries that
// are sent again, because the answer got lost, are not stored again.
func (s *Store) ship(ctx context.Context, p *peer, w *shipment, streams []model.StreamEntries) (position, error) {
	head, err := json.Marshal(w)
	if err != nil {
		return position{}, err
	}
	var body bytes.Buffer
	frames := frameWriter{w: &body}
	if err := frames.write(frameHead, head); err != nil {
		return position{}, err
	}
	var enc batchEncoder
	b := columns(streams)
	for from := 0; from < b.Len(); {
		to := cutRows(b, from)
		if err := frames.write(frameBatch, enc.encode(b, from, to)); err != nil {
			return position{}, err
		}
		from = to
	}
	if err := frames.write(frameEnd, nil); err != nil {
		return position{}, err
	}
	text, err := s.askJSON(ctx, p, "ship", rawBody(body.Bytes()))
	if err != nil || w.Mark == "" {
		return position{}, err
	}
	var at position
	if err := json.Unmarshal(text, &at); err != nil {
		return position{}, damaged("a position")
	}
	return at, nil
}

// rawBody is a body that is not JSON.
type rawBody []byte

// columns makes rows of streams, one stream after the other.
func columns(streams []model.StreamEntries) *model.EntryBatch {
	b := &model.EntryBatch{}
	meta := false
	for i := range streams {
		b.Streams = append(b.Streams, streams[i].Labels)
		for j := range streams[i].Entries {
			e := &streams[i].Entries[j]
			b.StreamIndex = append(b.StreamIndex, uint32(i))
			b.Timestamps = append(b.Timestamps, e.Timestamp)
			b.Lines = append(b.Lines, e.Line)
			b.Metadata = append(b.Metadata, e.Metadata)
			meta = meta || !e.Metadata.IsEmpty()
		}
	}
	if !meta {
		b.Metadata = nil
	}
	return b
}

// maxShipment bounds the body of a request that hands entries over.
const maxShipment = 2 * maxPayload

// serveShip stores what another replica hands over.
func (s *Store) serveShip(a *answer, r *http.Request) error {
	frames := frameReader{r: r.Body}
	kind, head, err := frames.next(nil)
	if err != nil {
		return err
	}
	var w shipment
	if err := json.Unmarshal(head, &w); err != nil || kind != frameHead {
		return damaged("what is handed over has no head")
	}
	if s.leave.state() != stateActive {
		return ErrLeaving
	}
	streams, err := readShipment(&frames)
	if err != nil {
		return err
	}
	if w.Mark == "" {
		return s.local.Append(r.Context(), &model.Batch{Streams: streams})
	}
	// One at a time: between the look at the mark and the append nobody moves it.
	s.receiving.Lock()
	defer s.receiving.Unlock()
	key := shipPrefix + w.Mark
	at := beginning
	if text, ok := s.local.Marks(key)[key]; ok {
		if err := json.Unmarshal(text, &at); err != nil {
			return fmt.Errorf("the mark %s cannot be read: %w", key, err)
		}
	}
	if at == w.From && len(streams) > 0 {
		text, err := json.Marshal(w.To)
		if err != nil {
			return err
		}
		if streams, err = s.unheld(r.Context(), streams, w.Middle); err != nil {
			return err
		}
		if err := s.local.Append(r.Context(), &model.Batch{Streams: streams, Marks: []model.Mark{{Key: key, Value: text}}, Moved: true}); err != nil {
			return err
		}
		at = w.To
	}
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return sendList(a, []string{string(text)}, nil, appendString)
}

// heldKey is an entry of a stream.
type heldKey struct {
	stream uint32
	ts     int64
	groupKey
}

// unheld leaves out what this replica holds itself: of entries that both have the
// larger number is enough, here as in answers. Those of the first stream and
// timestamp are kept where middle says that some of them came before.
func (s *Store) unheld(ctx context.Context, streams []model.StreamEntries, middle bool) ([]model.StreamEntries, error) {
	var table streamTable
	span := model.Span{Min: streams[0].Entries[0].Timestamp, Max: streams[0].Entries[0].Timestamp}
	for i := range streams {
		table.id(streams[i].Labels)
		for j := range streams[i].Entries {
			ts := streams[i].Entries[j].Timestamp
			span.Min, span.Max = min(span.Min, ts), max(span.Max, ts)
		}
	}
	own, err := s.local.Extents(ctx, rangeOf(span), nil)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(own, func(st model.StreamSpans) bool { return table.has(st.Labels) }) {
		return streams, nil
	}
	held, err := s.held(ctx, &table, rangeOf(span))
	if err != nil || len(held) == 0 {
		return streams, err
	}
	first, at := table.id(streams[0].Labels), streams[0].Entries[0].Timestamp
	for i := range streams {
		st := &streams[i]
		id := table.id(st.Labels)
		st.Entries = slices.DeleteFunc(st.Entries, func(e model.Entry) bool {
			if middle && id == first && e.Timestamp == at {
				return false
			}
			k := heldKey{id, e.Timestamp, groupKey{e.Line, string(e.Metadata.Bytes(nil))}}
			if held[k] == 0 {
				return false
			}
			held[k]--
			return true
		})
	}
	return streams, nil
}

// held counts the entries of the local store in a range, of the streams of a table.
func (s *Store) held(ctx context.Context, table *streamTable, r model.TimeRange) (map[heldKey]int, error) {
	it, err := s.local.Select(ctx, model.SelectRequest{Range: r, Unordered: true})
	if err != nil {
		return nil, err
	}
	defer it.Close() //nolint:errcheck // of files that have been read
	held := map[heldKey]int{}
	for {
		b, err := it.Next(ctx)
		if isEnd(err) {
			return held, nil
		}
		if err != nil {
			return nil, err
		}
		for i, ts := range b.Timestamps {
			ls := b.Streams[b.StreamIndex[i]]
			id, ok := table.find(ls.Hash(), ls)
			if !ok {
				continue
			}
			k := heldKey{stream: id, ts: ts, groupKey: groupKey{line: strings.Clone(b.Lines[i])}}
			if len(b.Metadata) > 0 {
				k.metadata = string(b.Metadata[i].Bytes(nil))
			} else {
				k.metadata = string(labels.EmptyLabels().Bytes(nil))
			}
			held[k]++
		}
	}
}

// readShipment reads the batches of a request.
func readShipment(frames *frameReader) ([]model.StreamEntries, error) {
	var table batchTable
	var out []model.StreamEntries
	for {
		kind, payload, err := frames.next(nil)
		switch {
		case err != nil:
			return nil, err
		case kind == frameEnd:
			return out, nil
		case kind != frameBatch:
			return nil, damaged("a frame of kind %q", kind)
		}
		var b model.EntryBatch
		if err := table.decodeBatch(payload, &b); err != nil {
			return nil, err
		}
		for len(out) < len(table.streams) {
			out = append(out, model.StreamEntries{Labels: table.streams[len(out)]})
		}
		for i, ts := range b.Timestamps {
			e := model.Entry{Timestamp: ts, Metadata: labels.EmptyLabels()}
			if len(b.Lines) > 0 {
				e.Line = b.Lines[i] // a part of this frame's payload
			}
			if len(b.Metadata) > 0 {
				e.Metadata = b.Metadata[i]
			}
			st := &out[b.StreamIndex[i]]
			st.Entries = append(st.Entries, e)
		}
	}
}
