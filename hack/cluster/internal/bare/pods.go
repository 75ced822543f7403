package bare

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// dialRuntime connects to the cluster's containerd.
func (c *Cluster) dialRuntime() (runtimeapi.RuntimeServiceClient, func(), error) {
	conn, err := grpc.NewClient("unix://"+c.p.containerdSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, fmt.Errorf("containerd: %w", err)
	}
	return runtimeapi.NewRuntimeServiceClient(conn), func() { conn.Close() }, nil
}

// runtimeReady asks containerd whether it can run pods, its network included.
func (c *Cluster) runtimeReady(ctx context.Context) error {
	client, done, err := c.dialRuntime()
	if err != nil {
		return err
	}
	defer done()
	status, err := client.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return err
	}
	for _, cond := range status.GetStatus().GetConditions() {
		if !cond.Status {
			return fmt.Errorf("%s: %s %s", cond.Type, cond.Reason, cond.Message)
		}
	}
	return nil
}

// removePods stops and removes every pod through the runtime, which also
// returns its network and unmounts its files. Pods are removed side by side: a
// container that ignores SIGTERM costs its own grace period only.
func (c *Cluster) removePods(ctx context.Context) error {
	client, done, err := c.dialRuntime()
	if err != nil {
		return err
	}
	defer done()
	list, err := client.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("list pods in containerd: %w", err)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	errs := make([]error, len(list.GetItems()))
	for i, s := range list.GetItems() {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			_, err := client.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: s.Id})
			if err == nil {
				_, err = client.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.Id})
			}
			if err != nil {
				errs[i] = fmt.Errorf("remove pod %s/%s: %w", s.GetMetadata().GetNamespace(), s.GetMetadata().GetName(), err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// killStragglers ends what outlived the runtime: shims and the processes in the
// pods' control groups, both recognised by what only this cluster has.
func (c *Cluster) killStragglers() error {
	pids, err := c.stragglers()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); len(pids) > 0 && time.Now().Before(deadline); {
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		time.Sleep(50 * time.Millisecond)
		if pids, err = c.stragglers(); err != nil {
			return err
		}
	}
	if len(pids) > 0 {
		return fmt.Errorf("processes %v of the cluster survive SIGKILL", pids)
	}
	return nil
}

// stragglers returns the pids of shims of our containerd and of pod processes.
func (c *Cluster) stragglers() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue // gone, or a zombie
		}
		args := strings.Split(string(cmdline), "\x00")
		shim := strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") && slices.Contains(args, c.p.containerdSocket())
		cgroups, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if shim || strings.Contains(string(cgroups), ":/"+podCgroup) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// podCgroup is the kubelet's group for all pods, below every controller's root.
const podCgroup = "kubepods"

// cgroupDirs returns the pods' control groups, one per controller on cgroup v1.
func cgroupDirs() []string {
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup/" + podCgroup, "/sys/fs/cgroup/*/" + podCgroup} {
		found, _ := filepath.Glob(pattern) // the pattern is well-formed
		dirs = append(dirs, found...)
	}
	return dirs
}

// removeCgroups removes the pods' control groups, leaves first.
func removeCgroups() error {
	var errs []error
	for _, root := range cgroupDirs() {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		errs = append(errs, err)
		slices.Reverse(dirs)
		for _, dir := range dirs {
			if err := removeCgroup(dir); err != nil {
				errs = append(errs, err)
				break
			}
		}
	}
	return errors.Join(errs...)
}

// removeCgroup tries for a second: the kernel lets go of a group a moment after
// its last process has ended.
func removeCgroup(dir string) error {
	for deadline := time.Now().Add(time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove control group %s: %w", dir, err)
		}
	}
}
