package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// FleetSpec describes many equal pods to [Rig.AddFleet].
type FleetSpec struct {
	// Name begins the names of nodes and pods; it is also the namespace.
	Name string
	// Nodes, pods on each, containers in each. A pod with many containers is
	// much cheaper to create than many pods, and the same number of targets.
	Nodes, PodsPerNode, ContainersPerPod int
	// Rotation of every log.
	Rotation Rotation
	// Parallel requests while creating; 0 means 16.
	Parallel int
}

// Fleet is many nodes with many pods, whose logs are open only while they are
// written to.
type Fleet struct {
	Nodes []*Node
	Pods  []*Pod
}

// Targets is the number of containers.
func (f *Fleet) Targets() int {
	n := 0
	for _, p := range f.Pods {
		n += len(p.Containers())
	}
	return n
}

// AddFleet creates nodes and pods in parallel; 10,000 containers as 50 × 20 × 10
// take about five seconds on two cores.
//
// Every follow of a log takes an inotify instance of this user, because all
// kubelets are in this process; [InotifyInstances] tells how many there are.
func (r *Rig) AddFleet(ctx context.Context, spec FleetSpec) (*Fleet, error) {
	if spec.Parallel == 0 {
		spec.Parallel = 16
	}
	if err := r.ensureNamespace(ctx, spec.Name); err != nil {
		return nil, err
	}
	containers := make([]string, spec.ContainersPerPod)
	for i := range containers {
		containers[i] = "c" + strconv.Itoa(i)
	}
	f := &Fleet{Nodes: make([]*Node, spec.Nodes), Pods: make([]*Pod, spec.Nodes*spec.PodsPerNode)}
	err := parallel(spec.Nodes, spec.Parallel, func(i int) (err error) {
		f.Nodes[i], err = r.AddNode(ctx, fmt.Sprintf("%s-%03d", spec.Name, i))
		return err
	})
	if err != nil {
		return nil, err
	}
	err = parallel(len(f.Pods), spec.Parallel, func(i int) (err error) {
		f.Pods[i], err = r.AddPod(ctx, f.Nodes[i%spec.Nodes], PodSpec{
			Namespace: spec.Name, Name: fmt.Sprintf("%s-%05d", spec.Name, i), Containers: containers,
			Labels:   map[string]string{"app.kubernetes.io/name": spec.Name},
			Rotation: spec.Rotation, NoBook: true, shut: true,
		})
		return err
	})
	return f, err
}

// Remove deletes the fleet's pods and nodes.
func (f *Fleet) Remove(ctx context.Context) error {
	err := parallel(len(f.Pods), 16, func(i int) error {
		if f.Pods[i] == nil {
			return nil
		}
		return errors.Join(f.Pods[i].ForceDelete(ctx), f.Pods[i].Collect())
	})
	return errors.Join(err, parallel(len(f.Nodes), 16, func(i int) error {
		if f.Nodes[i] == nil {
			return nil
		}
		return f.Nodes[i].Remove(ctx)
	}))
}

// parallel calls f for 0 to n-1 from a few goroutines and joins the errors.
func parallel(n, workers int, f func(int) error) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
		next = make(chan int)
	)
	for range min(workers, n) {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// InotifyInstances returns how many follows the kubelets of all rigs of this
// user can serve at a time: each takes one inotify instance (Linux; the sysctl
// is fs.inotify.max_user_instances). ok is false where there is no such limit.
func InotifyInstances() (n int, ok bool) {
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}
