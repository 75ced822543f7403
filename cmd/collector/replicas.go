package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/peers"
	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
	"github.com/logstack-dev/kubectl-logstack/pkg/sharing"
)

// namespaceFile is where Kubernetes tells a pod its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

const (
	// singletonEvents is the name of the collecting of events in the set.
	singletonEvents = "events"
	// releaseTimeout bounds how long a stopping replica tries to give up its Lease.
	releaseTimeout = 3 * time.Second
	// handOverTime is how long the others may take to begin to read what a replica
	// gives away that leaves for good.
	handOverTime = 3 * time.Minute
	// knownTimeout bounds how long a starting replica is not ready because it does
	// not know the others: without them it answers for itself alone.
	knownTimeout = 10 * time.Second
)

// replicaFlags say with whom the pods are shared.
type replicaFlags struct {
	set, name, namespace, id string
	url                      string
}

func (f *replicaFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.set, "replica-set", "", "share the pods with the other replicas of this `SET`, each with a data directory and a Lease of its own (default: read all)")
	fs.StringVar(&f.name, "replica-name", "", "`NAME` of this replica and of its Lease (default the host name, which is the pod's)")
	fs.StringVar(&f.namespace, "replica-namespace", "", "`NAMESPACE` of the Leases (default the pod's)")
	fs.StringVar(&f.id, "replica-id", "", "`ID` that tells this replica from earlier ones of its name, such as the pod's uid (default random)")
	fs.StringVar(&f.url, "advertise-url", "", "`URL` at which the other replicas reach this one, such as http://10.1.2.3:3100")
}

// complete fills in what was not given, and refuses what makes no sense.
func (f *replicaFlags) complete(noKubernetes bool) error {
	if f.set == "" {
		return nil
	}
	if noKubernetes {
		return errors.New("--replica-set needs Kubernetes: leave out --no-kubernetes")
	}
	if !strings.HasPrefix(f.url, "http://") && !strings.HasPrefix(f.url, "https://") {
		return fmt.Errorf("--replica-set needs the --advertise-url of this replica, http://… or https://…; it is %q", f.url)
	}
	f.url = strings.TrimRight(f.url, "/")
	if f.name == "" {
		var err error
		if f.name, err = os.Hostname(); err != nil {
			return fmt.Errorf("--replica-name is not given, and the host name is not known: %w", err)
		}
	}
	if f.namespace == "" {
		text, err := os.ReadFile(namespaceFile)
		if err != nil {
			return fmt.Errorf("--replica-namespace is not given, and the pod's is not known: %w", err)
		}
		f.namespace = strings.TrimSpace(string(text))
	}
	if f.id == "" {
		f.id = rand.Text()
	}
	return nil
}

// replicas is the membership of this process; its zero value is that of the only
// replica.
type replicas struct {
	group *sharing.Group
	done  chan struct{} // closed when the group and what waits for it have ended
	stop  context.CancelFunc
}

// newReplicas prepares to share the pods, if that was asked for.
func (p *parts) newReplicas(rc *rest.Config) (*replicas, error) {
	f := &p.cfg.replicas
	if f.set == "" {
		return &replicas{}, nil
	}
	leases, err := sharing.NewLeases(rc, f.namespace)
	if err != nil {
		return nil, fmt.Errorf("cannot share pods: %w", err)
	}
	g, err := sharing.New(sharing.Options{
		Set: f.set, Name: f.name, ID: f.id, URL: f.url,
		Leases: leases, HTTP: p.secure.peerClient(),
		Logger: p.log.With("part", "replicas"), Registerer: p.registry,
		Leaving: p.peering.store.LeaveStatus().State != lokiapi.ReplicaActive,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot share pods: %w", err)
	}
	p.ownsEvents = func() bool { return g.Owns(singletonEvents) }
	r := &replicas{group: g}
	others := func() []peers.Peer { return othersOf(g) }
	p.peering.members.Store(&others)
	p.mu.Lock()
	p.replicas = r
	p.mu.Unlock()
	return r, nil
}

// share is what the reader of pod logs asks; nil for the only replica.
func (r *replicas) share() podlogs.Share {
	if r.group == nil {
		return nil
	}
	return r.group
}

// takeOver is how a new owner of events learns how far the others have stored
// them; nil for the only replica.
func (r *replicas) takeOver() func(context.Context) [][]model.Mark {
	if r == nil || r.group == nil {
		return nil
	}
	return func(ctx context.Context) [][]model.Mark { return r.group.AskMarks(ctx, singletonEvents) }
}

// start joins the others, who ask c for its pods.
func (r *replicas) start(p *parts, c *podlogs.Collector) {
	if r.group == nil {
		return
	}
	if p.events != nil {
		r.group.AddSingleton(singletonEvents, p.events)
	}
	p.server.Mount("POST "+sharing.PathPrefix, r.group.Handler(c))
	handOver := func(ctx context.Context) error { return r.handOver(ctx, c) }
	p.peering.stop.Store(&handOver)
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.done = cancel, make(chan struct{})
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		p.readyWhenKnown(ctx, r.group.Known(), time.After(knownTimeout))
	}()
	go func() {
		defer close(r.done)
		r.group.Run(ctx)
		<-waited
	}()
}

// readyWhenKnown makes the server ready when the other replicas are known, or when
// it is late: answers say then that they are not.
func (p *parts) readyWhenKnown(ctx context.Context, known <-chan struct{}, late <-chan time.Time) {
	select {
	case <-ctx.Done():
		return
	case <-known:
	case <-late:
		p.log.Warn("the Leases of the other replicas could not be read yet; answers hold only what this replica has and what those have that it knew before", "waited", knownTimeout)
	}
	p.becomeReady()
}

// leave ends the membership, after everything that was read is stored: the others
// go on at once.
func (r *replicas) leave(p *parts) {
	if r.group == nil || r.done == nil {
		return
	}
	if err := r.group.LeaveMarks(context.Background(), singletonEvents); err != nil {
		p.log.Info("the next replica lists events anew", "error", err)
	}
	r.stop()
	<-r.done
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	left := p.peering.store.LeaveStatus().State == lokiapi.ReplicaLeft
	if err := r.group.Close(ctx, left); err != nil {
		p.log.Warn("leaving the other replicas", "error", err)
	}
}

// othersOf are the other replicas, as those see them who ask them.
func othersOf(g *sharing.Group) []peers.Peer {
	members := g.Members()
	list := make([]peers.Peer, 0, len(members))
	select {
	case <-g.Known():
	default:
		list = append(list, peers.Peer{Name: "(unknown)", Unknown: "the Leases of the replicas have not been read yet"})
	}
	for _, m := range members {
		if !m.Self {
			list = append(list, peers.Peer{Name: m.Name, URL: m.URL, Live: m.State != sharing.StateAway})
		}
	}
	return list
}

// handOver gives all pods to the other replicas, and returns when they read them.
func (r *replicas) handOver(ctx context.Context, c *podlogs.Collector) error {
	if err := r.group.Leave(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		held := c.Status().Shared.Owned
		pending, err := r.group.Pending(ctx)
		if held == 0 && err == nil && pending == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the other replicas have not taken over all pods: %d are read here, %d wait there: %w", held, pending, errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

// status is what the status page shows of it; nil for the only replica.
func (r *replicas) status() map[string]any {
	if r == nil || r.group == nil {
		return nil
	}
	return r.group.Status()
}
