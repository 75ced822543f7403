package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/bare"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/images"
)

// provider is one kind of cluster.
type provider interface {
	Up(context.Context) error
	Down(context.Context) error
	Status(context.Context, io.Writer) error
	Load(ctx context.Context, archives ...string) error
	// Kubeconfig is the path of a kubeconfig whose current context is the cluster.
	Kubeconfig() string
}

func newProvider(kind, dir string, log io.Writer) (provider, error) {
	switch kind {
	case "bare":
		return bare.New(dir, log)
	case "kind":
		return newKind(dir, log)
	case "current":
		return current{log}, nil
	}
	return nil, fmt.Errorf("CLUSTER=%s: unknown, have bare, kind, current", kind)
}

// current is the cluster that somebody else runs.
type current struct{ log io.Writer }

func (c current) Up(context.Context) error {
	cfg, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
	if err != nil {
		return err
	}
	if cfg.CurrentContext == "" {
		return fmt.Errorf("CLUSTER=current: %s has no current context: set one with kubectl config use-context", c.Kubeconfig())
	}
	fmt.Fprintf(c.log, "using the current context %q, nothing to start\n", cfg.CurrentContext)
	return nil
}

func (c current) Down(context.Context) error {
	fmt.Fprintln(c.log, "CLUSTER=current: the cluster is not ours to stop")
	return nil
}

func (c current) Status(ctx context.Context, w io.Writer) error {
	out, err := exec.CommandContext(ctx, "kubectl", "cluster-info").CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubectl cluster-info: %w: %s", err, bytes.TrimSpace(out))
	}
	_, err = w.Write(out)
	return err
}

func (c current) Load(_ context.Context, archives ...string) error {
	return fmt.Errorf("CLUSTER=current: cannot load %s into a cluster that others run: push the image to a registry it pulls from, and install with that image",
		strings.Join(archives, ", "))
}

func (c current) Kubeconfig() string {
	return clientcmd.NewDefaultClientConfigLoadingRules().GetDefaultFilename()
}

// kind is a kind cluster, which needs Docker and the kind command.
type kind struct {
	dir string
	log io.Writer
}

const kindName = "logstack"

func newKind(dir string, log io.Writer) (*kind, error) {
	for _, command := range []string{"kind", "docker"} {
		if _, err := exec.LookPath(command); err != nil {
			return nil, fmt.Errorf("CLUSTER=kind needs the command %s: %w", command, err)
		}
	}
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(base, "logstack-cluster", "kind")
	}
	return &kind{dir: dir, log: log}, nil
}

func (k *kind) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "kind", args...)
	cmd.Stdout, cmd.Stderr = k.log, k.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kind %s: %w (does Docker run?)", strings.Join(args, " "), err)
	}
	return nil
}

func (k *kind) exists(ctx context.Context) (bool, error) {
	out, err := exec.CommandContext(ctx, "kind", "get", "clusters").Output()
	if err != nil {
		return false, fmt.Errorf("kind get clusters: %w (does Docker run?)", err)
	}
	return slices.Contains(strings.Fields(string(out)), kindName), nil
}

func (k *kind) Up(ctx context.Context) error {
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		return err
	}
	have, err := k.exists(ctx)
	if err != nil {
		return err
	}
	if have {
		err = k.run(ctx, "export", "kubeconfig", "--name", kindName, "--kubeconfig", k.Kubeconfig())
	} else {
		err = k.create(ctx)
	}
	if err != nil {
		return err
	}
	cache, err := binaries.Open("", k.log)
	if err != nil {
		return err
	}
	archives, err := images.Build(ctx, cache, k.log, images.Loggen)
	if err != nil {
		return err
	}
	return k.Load(ctx, archives...)
}

func (k *kind) create(ctx context.Context) error {
	config := filepath.Join(k.dir, "config.yaml")
	if err := os.WriteFile(config, []byte(kindConfig), 0o644); err != nil {
		return err
	}
	return k.run(ctx, "create", "cluster", "--name", kindName, "--kubeconfig", k.Kubeconfig(), "--config", config, "--wait", "120s")
}

// kindConfig makes the kubelet rotate logs as fast as that of a bare cluster.
const kindConfig = `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  apiVersion: kubelet.config.k8s.io/v1beta1
  containerLogMaxSize: 1Mi
  containerLogMaxFiles: 3
  containerLogMonitorInterval: 3s
`

func (k *kind) Down(ctx context.Context) error {
	if err := k.run(ctx, "delete", "cluster", "--name", kindName, "--kubeconfig", k.Kubeconfig()); err != nil {
		return err
	}
	return os.RemoveAll(k.dir)
}

func (k *kind) Status(ctx context.Context, w io.Writer) error {
	have, err := k.exists(ctx)
	if err != nil {
		return err
	}
	state := "down"
	if have {
		state = "up; export KUBECONFIG=" + k.Kubeconfig()
	}
	_, err = fmt.Fprintf(w, "kind cluster %s: %s\n", kindName, state)
	return err
}

func (k *kind) Load(ctx context.Context, archives ...string) error {
	for _, a := range archives {
		if err := k.run(ctx, "load", "image-archive", a, "--name", kindName); err != nil {
			return err
		}
	}
	return nil
}

func (k *kind) Kubeconfig() string { return filepath.Join(k.dir, "kubeconfig") }
