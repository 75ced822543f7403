package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/pflag"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/peers"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

// peerFlags name collectors that answer together, where no replica set tells.
type peerFlags struct {
	list   []string
	static []peers.Peer
}

func (f *peerFlags) add(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.list, "peers", nil, "answer queries also from these collectors, as `NAME=URL`,…, each with a name of its own (--replica-name); the members of a --replica-set need not be named")
}

func (f *peerFlags) check() error {
	for _, text := range f.list {
		name, address, ok := strings.Cut(text, "=")
		u, err := url.Parse(address)
		if !ok || name == "" || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("--peers %q: write it as NAME=URL, such as logstack-1=http://10.1.2.3:3100", text)
		}
		f.static = append(f.static, peers.Peer{Name: name, URL: strings.TrimSuffix(address, "/"), Live: true})
	}
	return nil
}

// peering is what makes this replica answer for all of them.
type peering struct {
	store *peers.Store // guarded by parts.mu for /status
	// members, when set, are the other members of the replica set, stop ends the
	// collecting of entries for good.
	members atomic.Pointer[func() []peers.Peer]
	stop    atomic.Pointer[func(context.Context) error]

	handler atomic.Pointer[http.Handler] // nil while the store is being opened
	static  []peers.Peer
	cancel  context.CancelFunc
	done    chan struct{}
}

// Peers implements peers.Directory.
func (p *peering) Peers() []peers.Peer {
	if f := p.members.Load(); f != nil {
		return (*f)()
	}
	return p.static
}

// mount serves the protocol of replicas, and what concerns this one as a member.
func (p *parts) mountPeers() {
	late := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := p.peering.handler.Load(); h != nil {
			(*h).ServeHTTP(w, r)
			return
		}
		http.Error(w, "not ready: opening the data directory", http.StatusServiceUnavailable)
	})
	for _, path := range []string{peers.PathPrefix, lokiapi.LeavePath, lokiapi.MembersPath} {
		p.server.Mount(path, late)
	}
}

// replicaName is what other replicas call this one.
func (c *config) replicaName() string {
	if f := c.flags.Lookup("replica-name"); f != nil && f.Value.String() != "" {
		return f.Value.String()
	}
	name, err := os.Hostname()
	if err != nil {
		return "collector"
	}
	return name
}

// openPeers puts the entries of the other replicas beside those of the database.
func (p *parts) openPeers(db *store.DB) error {
	t := &p.peering
	t.static = p.cfg.peers.static
	var directory peers.Directory
	set := p.cfg.flags.Lookup("replica-set")
	if len(t.static) > 0 || set != nil && set.Value.String() != "" {
		directory = t
	}
	all := peers.New(db, directory, peers.Options{
		Name:      p.cfg.replicaName(),
		Transport: p.secure.peerClient().Transport,
		Retention: p.cfg.retention,
		Span: func() (oldest, newest int64) {
			s := db.Status()
			return s.OldestTime, s.NewestTime
		},
		OnLeave: func(ctx context.Context) error {
			if stop := t.stop.Load(); stop != nil {
				return (*stop)(ctx)
			}
			return nil
		},
		Logger:     p.log.With("part", "peers"),
		Registerer: p.registry,
	})
	p.mu.Lock()
	t.store = all
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel, t.done = cancel, make(chan struct{})
	if err := all.Start(ctx); err != nil {
		cancel()
		return fmt.Errorf("cannot go on as a replica: %w", err)
	}
	h := all.Handler()
	t.handler.Store(&h)
	go func() {
		defer close(t.done)
		if directory != nil {
			all.Run(ctx)
		}
	}()
	return nil
}

// closePeers ends what is done for other replicas, so that the server can stop.
func (p *parts) closePeers() {
	if p.peering.store == nil {
		return
	}
	p.peering.cancel()
	p.peering.store.Close()
	<-p.peering.done
}

// peerStatusCode maps errors that concern other replicas to HTTP.
func peerStatusCode(err error) int {
	var away *peers.AwayError
	var partial *peers.PartialError
	var alike *peers.TooManyAlikeError
	switch {
	case errors.As(err, &away), errors.As(err, &partial), errors.Is(err, peers.ErrLeaving), errors.Is(err, peers.ErrNobody):
		return http.StatusServiceUnavailable
	case errors.As(err, &alike):
		return http.StatusBadRequest
	}
	return 0
}
