package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

// directory is a Directory that tests change.
type directory struct {
	mu    sync.Mutex
	peers []Peer
}

func (d *directory) Peers() []Peer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Peer(nil), d.peers...)
}

func (d *directory) set(peers ...Peer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peers = peers
}

// replica is one of a cluster, with a real store and a real server.
type replica struct {
	name  string
	db    *store.DB
	peers *Store
	dir   *directory
	srv   *httptest.Server
	// wrap changes how requests are answered; nil leaves them as they are.
	wrap func(http.Handler) http.Handler
	mu   sync.Mutex
}

func (r *replica) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	h := r.peers.Handler()
	if r.wrap != nil {
		h = r.wrap(h)
	}
	r.mu.Unlock()
	h.ServeHTTP(w, req)
}

func (r *replica) setWrap(f func(http.Handler) http.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrap = f
}

// newCluster starts n replicas that know each other.
func newCluster(t testing.TB, n int, options func(i int, o *Options)) []*replica {
	t.Helper()
	list := make([]*replica, n)
	transport := NewTransport()
	for i := range list {
		r := &replica{name: fmt.Sprintf("logstack-%d", i), dir: &directory{}}
		so := store.DefaultOptions()
		so.DeleteDelay = time.Hour
		db, err := store.Open(t.TempDir(), so)
		if err != nil {
			t.Fatal(err)
		}
		r.db = db
		o := Options{Name: r.name, Transport: transport, Span: func() (int64, int64) {
			s := db.Status()
			return s.OldestTime, s.NewestTime
		}}
		if options != nil {
			options(i, &o)
		}
		r.peers = New(db, r.dir, o)
		r.srv = httptest.NewServer(r)
		list[i] = r
	}
	for i, r := range list {
		for j, o := range list {
			if i != j {
				r.dir.peers = append(r.dir.peers, Peer{Name: o.name, URL: o.srv.URL, Live: true})
			}
		}
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		for _, r := range list {
			r.srv.CloseClientConnections()
			r.srv.Close()
			if err := r.db.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return list
}

// row is an entry of a stream.
type row struct {
	stream, metadata, line string
	ts                     int64
}

func (r row) String() string {
	return fmt.Sprintf("%d %s %q %s", r.ts, r.stream, r.line, r.metadata)
}

// readAll reads an iterator to its end. The rows are copies.
func readAll(t testing.TB, it model.BatchIterator, err error) []row {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := it.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out []row
	for {
		b, err := it.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if b.Len() == 0 {
			t.Fatal("an empty batch")
		}
		for i, ts := range b.Timestamps {
			r := row{ts: ts, stream: b.Streams[b.StreamIndex[i]].String()}
			if b.Lines != nil {
				r.line = strings.Clone(b.Lines[i])
			}
			if b.Metadata != nil && !b.Metadata[i].IsEmpty() {
				r.metadata = b.Metadata[i].String()
			}
			n := 1
			if b.Counts != nil {
				n = int(b.Counts[i])
			}
			for range n {
				out = append(out, r)
			}
		}
	}
}

// push stores one entry.
func push(t testing.TB, db *store.DB, ls labels.Labels, es ...model.Entry) {
	t.Helper()
	if err := db.Append(context.Background(), &model.Batch{Streams: []model.StreamEntries{{Labels: ls, Entries: es}}}); err != nil {
		t.Fatal(err)
	}
}
