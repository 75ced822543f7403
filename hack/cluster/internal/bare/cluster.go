package bare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/kube"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/proc"
)

// Cluster is the cluster of one state directory. Its methods exclude those of
// other processes on the same directory, where they change something.
type Cluster struct {
	p   paths
	log io.Writer
}

// New returns the cluster in dir; empty means LOGSTACK_CLUSTER_DIR, then
// [DefaultDir]. Nothing is created yet. Progress goes to log, one line a step.
func New(dir string, log io.Writer) (*Cluster, error) {
	dir, err := stateDir(dir)
	if err != nil {
		return nil, err
	}
	return &Cluster{p: paths{dir}, log: log}, nil
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.p.kubeconfig() }

func (c *Cluster) printf(format string, args ...any) { fmt.Fprintf(c.log, format+"\n", args...) }

// exists reports whether up has run here and down has not.
func (c *Cluster) exists() bool {
	_, err := os.Stat(c.p.hostFile())
	return err == nil
}

// Up starts the cluster, or what is missing of it, and returns when it runs pods
// and resolves names. On a running cluster it only checks.
func (c *Cluster) Up(ctx context.Context) error {
	if err := Preflight(); err != nil {
		return err
	}
	begin := time.Now()
	cache, err := binaries.Open("", c.log)
	if err != nil {
		return err
	}
	if c.Healthy(ctx) == nil {
		archives, err := c.ownArchives(ctx, cache)
		if err == nil {
			err = c.loadOwn(ctx, archives)
		}
		if err != nil {
			return err
		}
		c.printf("cluster is up and healthy")
		return nil
	}
	if err := installPackages(ctx, c.log); err != nil {
		return err
	}
	programs, err := cache.BuildAll(ctx, components...)
	if err != nil {
		return err
	}
	archives, err := c.ownArchives(ctx, cache)
	if err != nil {
		return err
	}
	if err := c.checkOurs(); err != nil {
		return err
	}
	m, err := proc.NewManager(c.p.root, c.log)
	if err != nil {
		return err
	}
	unlock, err := m.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.start(ctx, m, programs, archives); err != nil {
		return fmt.Errorf("%w\n\nLogs are in %s; `down` removes what has started", err, c.p.in("logs"))
	}
	c.printf("cluster up %s", time.Since(begin).Round(100*time.Millisecond))
	if hint := proxyHint(); hint != "" {
		c.printf("%s", hint)
	}
	return nil
}

// Healthy returns nil when every process of the cluster runs, the API answers,
// the node is ready and DNS is there.
func (c *Cluster) Healthy(ctx context.Context) error {
	if !c.exists() {
		return errors.New("cluster is down")
	}
	m, err := proc.NewManager(c.p.root, nil)
	if err != nil {
		return err
	}
	for _, name := range append([]string{containerdName}, components...) {
		p, err := m.Get(name)
		if err != nil {
			return err
		}
		if p == nil || !p.Alive() {
			return fmt.Errorf("%s is not running", name)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client, err := kube.Open(c.Kubeconfig(), true)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Ready(ctx); err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if err := nodeReady(ctx, client); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := dnsReady(ctx, client); err != nil {
		return fmt.Errorf("CoreDNS: %w", err)
	}
	return nil
}

// Down stops the cluster and undoes everything that it did to the machine, as
// far as it gets; the error joins all that went wrong. Without a cluster there is
// nothing to do. A last look at the machine makes sure.
func (c *Cluster) Down(ctx context.Context) error {
	if err := Preflight(); err != nil {
		return err
	}
	if !c.exists() {
		// Not even a directory that looks like ours is deleted then: it may be
		// a wrong LOGSTACK_CLUSTER_DIR.
		c.printf("no cluster in %s", c.p.root)
		return c.removeEmpty()
	}
	begin := time.Now()
	m, err := proc.NewManager(c.p.root, c.log)
	if err != nil {
		return err
	}
	unlock, err := m.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.undo(ctx, m); err != nil {
		return fmt.Errorf("%w\n\nrun `down` again when the cause is gone; the state is kept in %s", err, c.p.root)
	}
	// Deleting must never reach through a mount.
	points, err := mountsUnder(c.p.root)
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	if len(points) > 0 {
		return fmt.Errorf("still mounted: %q; the state is kept in %s", points, c.p.root)
	}
	if err := os.RemoveAll(c.p.root); err != nil {
		return fmt.Errorf("delete state: %w", err)
	}
	left, err := c.Leftovers(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind: %q", left)
	}
	c.printf("cluster down %s, nothing left behind", time.Since(begin).Round(100*time.Millisecond))
	return nil
}

// ownEntries are what opening the state directory makes, before up.
var ownEntries = []string{"lock", "logs", "run"}

// checkOurs refuses a state directory that holds something else, because down
// will delete it.
func (c *Cluster) checkOurs() error {
	if c.exists() {
		return nil
	}
	entries, err := os.ReadDir(c.p.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state directory: %w", err)
	}
	for _, e := range entries {
		if !slices.Contains(ownEntries, e.Name()) {
			return fmt.Errorf("state directory %s holds %s, which is not a cluster's: name an empty directory in LOGSTACK_CLUSTER_DIR, `down` deletes it", c.p.root, e.Name())
		}
	}
	return nil
}

// removeEmpty removes what a refused up has left, but nothing with content.
func (c *Cluster) removeEmpty() error {
	if err := c.checkOurs(); err != nil {
		return nil //nolint:nilerr // somebody else's directory is left alone
	}
	for _, name := range append(slices.Clone(ownEntries), ".") {
		_ = os.Remove(c.p.in(name)) // a directory with content stays
	}
	return nil
}

// undo stops everything and restores the machine, going on after an error.
func (c *Cluster) undo(ctx context.Context, m *proc.Manager) error {
	b, err := c.recall()
	errs := []error{err}
	// The kubelet would restart what is removed, so it goes first; the runtime
	// removes the pods, so it goes later.
	for _, name := range []string{binaries.Kubelet, binaries.ControllerManager, binaries.Scheduler} {
		errs = append(errs, m.Stop(ctx, name))
	}
	if p, err := m.Get(containerdName); err == nil && p != nil && p.Alive() {
		if err := c.removePods(ctx); err != nil {
			c.printf("warning: %v", err) // what is left is killed below
		}
		c.printf("pods removed")
	}
	errs = append(errs, m.StopAll(ctx))
	for _, step := range []func() error{
		c.killStragglers,
		func() error { return unmountUnder(c.p.root) },
		func() error { return networkDown(ctx) },
		removeCgroups,
		c.removeForeignFiles,
		func() error { return restore(b) },
	} {
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}

// Load imports image archives (OCI layout or docker-archive) into the node.
func (c *Cluster) Load(ctx context.Context, archives ...string) error {
	if !c.exists() {
		return errors.New("no cluster is running here: `up` first")
	}
	return c.importImages(ctx, archives)
}

// Status writes a table of processes and the state of the node to w. It returns
// an error when the cluster is not there or not healthy.
func (c *Cluster) Status(ctx context.Context, w io.Writer) error {
	if !c.exists() {
		return fmt.Errorf("no cluster in %s", c.p.root)
	}
	m, err := proc.NewManager(c.p.root, nil)
	if err != nil {
		return err
	}
	all, err := m.List()
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "PROCESS\tPID\tSTATE\tLOG")
	for _, p := range all {
		state := "running"
		if !p.Alive() {
			state = "dead"
		}
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\n", p.Name, p.Pid, state, m.LogFile(p.Name))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if err := c.Healthy(ctx); err != nil {
		return fmt.Errorf("not healthy: %w", err)
	}
	client, err := kube.Open(c.Kubeconfig(), true)
	if err != nil {
		return err
	}
	defer client.Close()
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\nhealthy, %d pods; export KUBECONFIG=%s\n", len(pods.Items), c.Kubeconfig())
	return nil
}
