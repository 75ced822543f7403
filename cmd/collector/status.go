package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/server"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

// services tells the state of each part.
func (p *parts) services() []server.Service {
	p.mu.Lock()
	db, pods := p.db, p.podlogs
	p.mu.Unlock()
	state := func(running bool) string {
		if running {
			return "Running"
		}
		return "Starting"
	}
	list := []server.Service{{Name: "server", State: "Running"}, {Name: "store", State: state(db != nil)}}
	if p.cfg.noKubernetes {
		return append(list, server.Service{Name: "podlogs", State: "Disabled"})
	}
	synced := false
	if pods != nil {
		synced = pods.Status().Synced
	}
	return append(list, server.Service{Name: "podlogs", State: state(synced)})
}

// status is what /logstack/v1/status shows beside the services.
func (p *parts) status() map[string]any {
	operator := p.operatorStatus()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]any{"echoes": p.echoes.traces(), "operator": operator}
	if p.db != nil {
		out["store"] = newStoreStatus(p.db.Status())
	}
	if p.podlogs != nil {
		s := p.podlogs.Status()
		out["podlogs"] = map[string]any{"synced": s.Synced, "targets": s.Targets, "problems": s.Problems}
		if r := p.replicas.status(); r != nil {
			r["pods"] = s.Shared
			out["replicas"] = r
		}
	}
	if p.events != nil {
		out["events"] = newEventsStatus(p.events.Status())
	}
	if all := p.peering.store; all != nil {
		if list := all.Members(); len(list) > 1 {
			out["members"] = list
		}
	}
	return out
}

// storeStatus is the JSON of the store's state; fields are only ever added.
type storeStatus struct {
	Dir            string     `json:"dir"`
	Format         int        `json:"format"`
	Entries        int64      `json:"entries"`
	HeadEntries    int64      `json:"headEntries"`
	HeadStreams    int64      `json:"headStreams"`
	HeadBytes      int64      `json:"headBytes"`
	Blocks         int        `json:"blocks"`
	RawBytes       int64      `json:"rawBytes"`
	BlockBytes     int64      `json:"blockBytes"`
	WALBytes       int64      `json:"walBytes"`
	DiskBytes      int64      `json:"diskBytes"`
	Oldest         *time.Time `json:"oldest,omitempty"`
	Newest         *time.Time `json:"newest,omitempty"`
	PendingDeletes int        `json:"pendingDeletes"`
	DiskFull       bool       `json:"diskFull"`
	Damaged        int64      `json:"damaged"` // places that could not be read
	Errors         []string   `json:"errors,omitempty"`
}

func newStoreStatus(s store.Status) storeStatus {
	out := storeStatus{
		Dir: s.Dir, Format: s.Format, Entries: s.HeadEntries + s.BlockEntries,
		HeadEntries: s.HeadEntries, HeadStreams: s.HeadStreams, HeadBytes: s.HeadBytes,
		Blocks: s.Blocks, RawBytes: s.RawBytes, BlockBytes: s.BlockBytes, WALBytes: s.WALBytes, DiskBytes: s.DiskBytes(),
		PendingDeletes: s.PendingDeletes, DiskFull: s.DiskFull, Damaged: s.BadChunkBlocks + s.WALDamage,
	}
	if out.Entries > 0 {
		oldest, newest := time.Unix(0, s.OldestTime).UTC(), time.Unix(0, s.NewestTime).UTC()
		out.Oldest, out.Newest = &oldest, &newest
	}
	for _, e := range s.LastErrors {
		out.Errors = append(out.Errors, e.Time.UTC().Format(time.RFC3339)+" "+e.Err.Error())
	}
	return out
}

// statusCode maps the store's errors to HTTP: shippers retry 5xx and drop what
// was answered with 4xx.
func statusCode(err error) int {
	var full *store.DiskFullError
	var invalid *store.InvalidBatchError
	var badDelete *store.InvalidDeleteError
	var begun *store.DeleteBegunError
	switch {
	case errors.As(err, &full):
		return http.StatusInsufficientStorage
	case errors.As(err, &invalid), errors.As(err, &badDelete), errors.As(err, &begun):
		return http.StatusBadRequest
	case errors.Is(err, store.ErrNoDelete):
		return http.StatusNotFound
	case errors.Is(err, store.ErrClosed):
		return http.StatusServiceUnavailable
	}
	return peerStatusCode(err)
}
