package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
)

// demoRotation keeps the files of a demonstration small, and lets one see that
// rotation loses nothing.
var demoRotation = rig.Rotation{MaxBytes: 1 << 20, MinInterval: 10 * time.Second, MaxFiles: 3}

// app is a pod of the demonstration and what it does at each beat.
type app struct {
	node      int
	spec      rig.PodSpec
	beat      time.Duration
	act       func(ctx context.Context, p *rig.Pod, n int) error
	beginning string // first line of each container
}

// demoApps runs the apps until stop.
type demoApps struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (d *demoApps) stop() {
	d.cancel()
	d.wg.Wait()
}

func startDemo(ctx context.Context, r *rig.Rig) (*demoApps, error) {
	nodes := make([]*rig.Node, 2)
	for i := range nodes {
		var err error
		if nodes[i], err = r.AddNode(ctx, fmt.Sprintf("node-%c", 'a'+i)); err != nil {
			return nil, err
		}
	}
	appCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &demoApps{cancel: cancel}
	for _, a := range apps() {
		a.spec.Rotation = demoRotation
		a.spec.NoBook = true
		p, err := r.AddPod(ctx, nodes[a.node], a.spec)
		if err != nil {
			d.stop()
			return nil, err
		}
		for _, c := range p.Containers() {
			if err := c.Write(rig.Stdout, a.beginning); err != nil {
				d.stop()
				return nil, err
			}
		}
		d.wg.Go(func() { play(appCtx, p, a) })
	}
	return d, nil
}

// play beats until the context ends. An error ends this app alone: the others
// are still worth looking at.
func play(ctx context.Context, p *rig.Pod, a app) {
	t := time.NewTicker(a.beat)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := a.act(ctx, p, n); err != nil && ctx.Err() == nil {
			slog.New(slog.NewTextHandler(os.Stderr, nil)).Error("demo app stopped", "pod", p.Namespace+"/"+p.Name, "err", err)
			return
		}
	}
}

func apps() []app {
	labels := func(name string) map[string]string { return map[string]string{"app.kubernetes.io/name": name} }
	return []app{
		{
			node: 0, beat: 300 * time.Millisecond, beginning: `{"level":"info","msg":"listening","addr":":8080"}`,
			spec: rig.PodSpec{Namespace: "shop", Name: "web-6d5f8c7b9-x2x7k", Labels: labels("web"), Containers: []string{"web"}},
			act:  func(_ context.Context, p *rig.Pod, n int) error { return p.Write("web", rig.Stdout, accessLine(n)) },
		},
		{
			node: 1, beat: 700 * time.Millisecond, beginning: `level=info msg="ready to charge"`,
			spec: rig.PodSpec{Namespace: "shop", Name: "payments-0", Labels: labels("payments"), Containers: []string{"payments"}, Sidecars: []string{"proxy"}},
			act:  payment,
		},
		{
			node: 1, beat: 5 * time.Second, beginning: "worker: starting",
			spec: rig.PodSpec{Namespace: "batch", Name: "worker-7c9d4-p4qlm", Labels: labels("worker"), Containers: []string{"worker"}},
			act:  crashNowAndThen,
		},
	}
}

func accessLine(n int) string {
	paths := []string{"/", "/cart", "/checkout", "/api/items", "/api/items/42"}
	status := 200
	switch {
	case n%17 == 16:
		status = 500
	case n%7 == 6:
		status = 404
	}
	return fmt.Sprintf(`{"level":"info","method":"GET","path":%q,"status":%d,"duration_ms":%d,"request":"r-%06d"}`,
		paths[n%len(paths)], status, 3+rand.IntN(120), n)
}

func payment(_ context.Context, p *rig.Pod, n int) error {
	line := fmt.Sprintf(`level=info msg="payment accepted" order=%d amount=%d.%02d currency=EUR`, 1000+n, 5+rand.IntN(90), rand.IntN(100))
	stream := rig.Stdout
	if n%11 == 10 {
		stream = rig.Stderr
		line = fmt.Sprintf(`level=error msg="payment refused" order=%d err="card expired"`, 1000+n)
	}
	if err := p.Write("payments", stream, line); err != nil {
		return err
	}
	return p.Write("proxy", rig.Stdout, fmt.Sprintf(`upstream=payments code=200 bytes=%d`, 200+rand.IntN(900)))
}

// crashNowAndThen restarts its container every minute, with a stack trace.
func crashNowAndThen(ctx context.Context, p *rig.Pod, n int) error {
	if n%12 != 11 {
		return p.Write("worker", rig.Stdout, fmt.Sprintf("worker: batch %d done, %d rows", n, 100+rand.IntN(900)))
	}
	for _, line := range []string{
		"panic: runtime error: index out of range [3] with length 3",
		"", "goroutine 1 [running]:", "main.process(...)", "\t/app/process.go:41", "exit status 2",
	} {
		if err := p.Write("worker", rig.Stderr, line); err != nil {
			return err
		}
	}
	if err := p.Restart(ctx, "worker", 2); err != nil {
		return err
	}
	return p.Write("worker", rig.Stdout, "worker: starting")
}
