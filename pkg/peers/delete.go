package peers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// deletePrefix begins the marks that say which request of the local store a
// delete request of all replicas is: peers/delete/<ID> has the local ID.
const deletePrefix = "peers/delete/"

// AwayError says that something that concerns all replicas was not done, because
// of one that cannot take part. Nothing was changed.
type AwayError struct {
	Replica string
	What    string // what was not done
	Err     error
}

func (e *AwayError) Error() string {
	return fmt.Sprintf("%s: replica %s cannot take part (%s), and may hold such entries; nothing was changed. Try again when it is back, or have it forgotten for good (DELETE %s?name=%s)",
		e.What, e.Replica, reason(e.Err), lokiapi.MembersPath, e.Replica)
}

func (e *AwayError) Unwrap() error { return e.Err }

// ErrLeaving says that a replica hands its entries over, and stores none.
var ErrLeaving = errors.New("it is handing over its entries to the others")

// PartialError says that a request reached some replicas, and not all.
type PartialError struct {
	Replica string
	What    string
	Err     error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%s: replica %s failed (%s) after others had done it: ask again", e.What, e.Replica, reason(e.Err))
}

func (e *PartialError) Unwrap() error { return e.Err }

// wireDelete is a delete request, or what is to become of one.
type wireDelete struct {
	ID       string        `json:"id,omitempty"`
	Matchers []wireMatcher `json:"matchers,omitempty"`
	Start    int64         `json:"start,omitempty"`
	End      int64         `json:"end,omitempty"`
	Filter   []byte        `json:"filter,omitempty"`
	Query    []byte        `json:"query,omitempty"`
	Force    bool          `json:"force,omitempty"`
}

// wireDeletes is the state of a replica's delete requests.
type wireDeletes struct {
	List []wireDeleteStatus `json:"list"`
}

type wireDeleteStatus struct {
	ID      string    `json:"id"`
	Query   []byte    `json:"query"`
	Start   int64     `json:"start"`
	End     int64     `json:"end"`
	Created time.Time `json:"created"`
	State   uint8     `json:"state"`
	Percent int       `json:"percent"`
}

// Delete hides entries at all replicas. It does nothing unless all can take part.
func (s *Store) Delete(ctx context.Context, req model.DeleteRequest) (id string, err error) {
	const what = "the delete request was refused"
	peers := s.others()
	if len(peers) == 0 {
		return s.local.Delete(ctx, req)
	}
	if s.leave.state() != stateActive {
		return "", &AwayError{Replica: s.opts.Name, What: what, Err: ErrLeaving}
	}
	for i, err := range s.everyone(ctx, peers, "ping", struct{}{}, nil) {
		if err == nil && peers[i].state() != stateActive {
			err = ErrLeaving
		}
		if err != nil {
			return "", &AwayError{Replica: peers[i].name, What: what, Err: err}
		}
	}
	id = fmt.Sprintf("%08x", rand.Uint32())
	w := wireDelete{
		ID: id, Matchers: toWire(req.Matchers), Start: req.Range.Start, End: req.Range.End,
		Filter: []byte(req.Filter), Query: []byte(req.Query),
	}
	if err := s.deleteHere(ctx, id, req); err != nil { // the cheapest way to find out that it is wrong
		return "", err
	}
	for i, err := range s.everyone(ctx, peers, "delete", w, nil) {
		if err != nil {
			return "", &PartialError{Replica: peers[i].name, What: "deleting", Err: err}
		}
	}
	return id, nil
}

// deleteHere deletes from the local store and remembers the request's ID.
func (s *Store) deleteHere(ctx context.Context, id string, req model.DeleteRequest) error {
	if s.leave.state() != stateActive {
		return ErrLeaving
	}
	local, err := s.local.Delete(ctx, req)
	if err != nil {
		return err
	}
	return s.local.Append(ctx, &model.Batch{Marks: []model.Mark{{Key: deletePrefix + id, Value: []byte(local)}}})
}

// state is what the peer said when it last answered.
func (p *peer) state() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known.State
}

// everyone asks all peers at a time. The errors are those of the peers; what they
// answer goes to got, one call at a time.
func (s *Store) everyone(ctx context.Context, peers []*peer, what string, body any, got func(p *peer, text []byte) error) []error {
	errs := make([]error, len(peers))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			text, err := s.askJSON(ctx, p, what, body)
			if err == nil && got != nil {
				mu.Lock()
				err = got(p, text)
				mu.Unlock()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errs
}

// askJSON asks for an answer that is one text.
func (s *Store) askJSON(ctx context.Context, p *peer, what string, body any) ([]byte, error) {
	texts, err := list(ctx, s, p, ask{what: what, body: body}, (*decoder).text)
	if err != nil || len(texts) == 0 {
		return nil, err
	}
	return []byte(texts[0]), nil
}

// DeleteRequests lists the requests of all replicas that answer. One that was made
// at a replica alone has its name before the ID.
func (s *Store) DeleteRequests() []model.DeleteStatus {
	peers := s.others()
	if len(peers) == 0 {
		return s.local.DeleteRequests()
	}
	ctx, cancel := context.WithTimeout(s.closing, s.opts.Timeout)
	defer cancel()
	byID := map[string]model.DeleteStatus{}
	add := func(name string, list []wireDeleteStatus) {
		for _, w := range list {
			d := model.DeleteStatus{
				ID: w.ID, Query: string(w.Query), Range: model.TimeRange{Start: w.Start, End: w.End},
				Created: w.Created, State: model.DeleteState(w.State), Percent: w.Percent,
			}
			if have, ok := byID[d.ID]; ok {
				d = joinStatus(have, d)
			}
			byID[d.ID] = d
		}
	}
	add(s.opts.Name, s.deletesHere())
	for i, err := range s.everyone(ctx, peers, "deletes", struct{}{}, func(p *peer, text []byte) error {
		var w wireDeletes
		if err := json.Unmarshal(text, &w); err != nil {
			return damaged("the list of delete requests")
		}
		add(p.name, w.List)
		return nil
	}) {
		if err != nil {
			s.log.Warn("the delete requests of a replica are not known", "replica", peers[i].name, "error", reason(err))
		}
	}
	out := make([]model.DeleteStatus, 0, len(byID))
	for _, d := range byID {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b model.DeleteStatus) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return out
}

// joinStatus is the state of a request that two replicas carry out.
func joinStatus(a, b model.DeleteStatus) model.DeleteStatus {
	if b.Created.Before(a.Created) {
		a.Created = b.Created
	}
	switch {
	case a.State != b.State:
		// One has begun, or is through: it cannot be cancelled any more.
		a.State, a.Percent = model.DeleteBegun, min(a.Percent, b.Percent)
	case a.State == model.DeleteBegun:
		a.Percent = min(a.Percent, b.Percent)
	}
	return a
}

// deletesHere lists the requests of the local store under the IDs that all
// replicas have for them. Marks of requests that are forgotten go.
func (s *Store) deletesHere() []wireDeleteStatus {
	ids := map[string]string{} // by local ID
	var stale []model.Mark
	marks := s.local.Marks(deletePrefix)
	list := s.local.DeleteRequests()
	for key, local := range marks {
		if slices.ContainsFunc(list, func(d model.DeleteStatus) bool { return d.ID == string(local) }) {
			ids[string(local)] = strings.TrimPrefix(key, deletePrefix)
		} else {
			stale = append(stale, model.Mark{Key: key})
		}
	}
	if len(stale) > 0 {
		if err := s.local.Append(s.closing, &model.Batch{Marks: stale}); err != nil {
			s.log.Debug("old marks stay", "error", err)
		}
	}
	out := []wireDeleteStatus{}
	for _, d := range list {
		if d.Query == leftQuery {
			continue
		}
		w := wireDeleteStatus{Query: []byte(d.Query), Start: d.Range.Start, End: d.Range.End, Created: d.Created, State: uint8(d.State), Percent: d.Percent}
		if w.ID = ids[d.ID]; w.ID == "" {
			w.ID = s.opts.Name + "." + d.ID
		}
		out = append(out, w)
	}
	return out
}

// CancelDelete takes a request back at all replicas. Those that do not know it do
// not count, unless none does.
func (s *Store) CancelDelete(ctx context.Context, id string, force bool) error {
	const what = "cancelling the delete request was refused"
	peers := s.others()
	if len(peers) == 0 {
		return s.cancelHere(ctx, id, force)
	}
	for i, err := range s.everyone(ctx, peers, "ping", struct{}{}, nil) {
		if err != nil {
			return &AwayError{Replica: peers[i].name, What: what, Err: err}
		}
	}
	known := s.ours(id)
	if known {
		if err := s.cancelHere(ctx, id, force); err != nil {
			return err
		}
	}
	for i, err := range s.everyone(ctx, peers, "cancel", wireDelete{ID: id, Force: force}, func(_ *peer, text []byte) error {
		known = known || string(text) == cancelled
		return nil
	}) {
		if err != nil {
			return &PartialError{Replica: peers[i].name, What: "cancelling", Err: err}
		}
	}
	if !known { // it has the words for that
		return s.local.CancelDelete(ctx, id, force)
	}
	return nil
}

// What a replica answers that is asked to cancel a request.
const (
	cancelled = "cancelled"
	notKnown  = "unknown"
)

// ours says whether the local store has a part of a request.
func (s *Store) ours(id string) bool {
	_, ok := s.local.Marks(deletePrefix + id)[deletePrefix+id]
	return ok || strings.HasPrefix(id, s.opts.Name+".")
}

// cancelHere cancels a request at the local store.
func (s *Store) cancelHere(ctx context.Context, id string, force bool) error {
	key := deletePrefix + id
	local, ok := s.local.Marks(key)[key]
	if !ok {
		return s.local.CancelDelete(ctx, strings.TrimPrefix(id, s.opts.Name+"."), force)
	}
	if err := s.local.CancelDelete(ctx, string(local), force); err != nil {
		return err
	}
	return s.local.Append(ctx, &model.Batch{Marks: []model.Mark{{Key: key}}})
}

// serveDelete, serveDeletes and serveCancel do at this replica what another one
// was asked for.
func (s *Store) serveDelete(_ *answer, r *http.Request) error {
	var w wireDelete
	if err := decodeRequest(r, &w); err != nil {
		return err
	}
	ms, err := fromWire(w.Matchers)
	if err != nil {
		return err
	}
	return s.deleteHere(r.Context(), w.ID, model.DeleteRequest{
		Matchers: ms, Range: model.TimeRange{Start: w.Start, End: w.End}, Filter: string(w.Filter), Query: string(w.Query),
	})
}

func (s *Store) serveDeletes(a *answer, r *http.Request) error {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	text, err := json.Marshal(wireDeletes{s.deletesHere()})
	if err != nil {
		return err
	}
	return sendList(a, []string{string(text)}, nil, appendString)
}

func (s *Store) serveCancel(a *answer, r *http.Request) error {
	var w wireDelete
	if err := decodeRequest(r, &w); err != nil {
		return err
	}
	answer := notKnown
	if s.ours(w.ID) {
		if err := s.cancelHere(r.Context(), w.ID, w.Force); err != nil {
			return err
		}
		answer = cancelled
	}
	return sendList(a, []string{answer}, nil, appendString)
}
