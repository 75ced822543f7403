package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"
)

// replica is one collector of a set, with a way to the API server of its own.
type replica struct {
	*collector
	proxy *rig.Proxy
}

// newReplica starts the i-th replica of a test's set.
func newReplica(t *testing.T, i int, args ...string) *replica {
	t.Helper()
	proxy, err := shared.NewProxy()
	must(t, err)
	rules := append(slices.Clone(rig.CollectorRules()), rbacv1.PolicyRule{
		APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"},
		Verbs: []string{"get", "list", "watch", "create", "update", "delete"},
	})
	name := fmt.Sprintf("%s-%d", namespaceOf(t), i)
	kubeconfig, err := shared.ServiceAccount(t.Context(), rig.ServiceAccount{Name: "e2e-" + name, Rules: rules, Server: proxy.URL()})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "collector.log"))
	must(t, err)
	c := &collector{t: t, dir: dir, kubeconfig: kubeconfig, log: log, args: append([]string{
		"--listen-address", address, "--advertise-url", "http://" + address,
		"--replica-set", namespaceOf(t), "--replica-name", name, "--replica-id", "pod-" + name, "--replica-namespace", "logstack",
	}, args...)}
	t.Cleanup(c.cleanup)
	c.start()
	return &replica{collector: c, proxy: proxy}
}

// owned is how many pods a replica reads, and whether it is fenced.
func (c *collector) owned() (n int, fenced bool, err error) {
	resp, err := http.Get("http://" + c.address + "/logstack/v1/status")
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	var status struct {
		Replicas struct {
			Fenced bool
			Pods   struct{ Owned int }
		}
	}
	err = json.NewDecoder(resp.Body).Decode(&status)
	return status.Replicas.Pods.Owned, status.Replicas.Fenced, err
}

// awaitShares waits until the given replicas read the pods together, each some,
// and no pod is read twice.
func awaitShares(t *testing.T, pods int, replicas ...*replica) {
	t.Helper()
	replicas[0].await("the pods to be shared", func() error {
		var counts []int
		sum := 0
		for _, r := range replicas {
			n, _, err := r.owned()
			if err != nil {
				return err
			}
			counts = append(counts, n)
			sum += n
		}
		if sum != pods || slices.Min(counts) == 0 {
			return fmt.Errorf("the replicas read %v of %d pods", counts, pods)
		}
		return nil
	})
}

// F23: replicas join, crash, lose the API server and are rolled out while pods
// write. Every line is there once, whoever is asked.
func TestReplicas(t *testing.T) {
	const pods = 18
	s := &scene{t: t, node: newNode(t)}
	for i := range pods {
		pod := addPod(t, s.node, rig.PodSpec{Name: fmt.Sprintf("web-%d", i)})
		s.loggers = append(s.loggers, newLogger(t, pod, "app", lines.Wild))
	}
	only := "--namespace=" + namespaceOf(t) // pods of other tests may still be about to go
	a := newReplica(t, 0, only)
	stop := s.background(10)
	pause(time.Second)
	b, c := newReplica(t, 1, only), newReplica(t, 2, only)
	awaitShares(t, pods, a, b, c)
	pause(time.Second)

	b.kill()
	awaitShares(t, pods, a, c)
	b.start()
	awaitShares(t, pods, a, b, c)

	if !testing.Short() {
		c.proxy.SetBlackHole(true)
		awaitShares(t, pods, a, b)
		if n, fenced, err := c.owned(); err != nil || n > 0 || !fenced {
			t.Errorf("a replica without the API server reads %d pods, fenced: %v, %v", n, fenced, err)
		}
		pause(2 * time.Second)
		c.proxy.SetBlackHole(false)
		awaitShares(t, pods, a, b, c)
	}
	for _, r := range []*replica{a, b, c} {
		r.stop()
		pause(time.Second)
		r.start()
		awaitShares(t, pods, a, b, c)
	}
	stop()
	for _, r := range []*replica{a, b, c} {
		s.c = r.collector
		s.awaitAll()
		for _, l := range s.loggers {
			if rep := r.report(l); !rep.OK() || rep.Gaps > 0 {
				t.Errorf("from %s: %s:\n%s", r.address, l.selector(), rep)
			}
		}
	}
}

// A replica that hands everything over and goes leaves nothing missing.
func TestReplicaLeaves(t *testing.T) {
	const pods = 8
	s := &scene{t: t, node: newNode(t)}
	for i := range pods {
		pod := addPod(t, s.node, rig.PodSpec{Name: fmt.Sprintf("web-%d", i)})
		s.loggers = append(s.loggers, newLogger(t, pod, "app", lines.Plain))
	}
	only := "--namespace=" + namespaceOf(t)
	a, b := newReplica(t, 0, only), newReplica(t, 1, only)
	stop := s.background(20)
	awaitShares(t, pods, a, b)
	pause(time.Second)
	resp, err := http.Post("http://"+b.address+"/logstack/v1/leave", "application/json", nil)
	must(t, err)
	must(t, resp.Body.Close())
	b.await("the replica to have left", func() error {
		resp, err := http.Get("http://" + b.address + "/logstack/v1/leave")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var status struct{ State, Error string }
		if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
			return err
		}
		if status.State != "left" {
			return errors.New(status.State + ": " + status.Error)
		}
		return nil
	})
	awaitShares(t, pods, a)
	b.stop()
	stop()
	s.c = a.collector
	s.awaitAll()
	for _, l := range s.loggers {
		if rep := a.report(l); !rep.OK() || rep.Gaps > 0 {
			t.Errorf("%s:\n%s", l.selector(), rep)
		}
	}
}
