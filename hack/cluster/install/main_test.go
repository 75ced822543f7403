package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/proc"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"

	"go.uber.org/goleak"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
)

var (
	shared *rig.Rig
	// objects reads any kind on the shared rig.
	objects dynamic.Interface
	// pluginBinary is built once from the working tree, kubectlBinary found or built.
	pluginBinary, kubectlBinary string
	// root is the root of the repository.
	root string
	// home keeps the discovery cache of the plugin away from the user's.
	home string
)

const defaultClass = "default"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "logstack-install")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	home = dir
	if err := errors.Join(build(ctx, dir), startRig(ctx, dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	controllers, err := startControllers(ctx, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := controllers.StopAll(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := errors.Join(shared.Stop(), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func build(ctx context.Context, dir string) error {
	module, err := binaries.FindModule()
	if err != nil {
		return err
	}
	root = filepath.Join(module, "..", "..")
	if kubectlBinary, err = exec.LookPath("kubectl"); err != nil {
		cache, err := binaries.Open("", os.Stderr)
		if err != nil {
			return err
		}
		if kubectlBinary, err = cache.Build(ctx, "kubectl"); err != nil {
			return err
		}
	}
	pluginBinary = filepath.Join(dir, "kubectl-logstack")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-X github.com/logstack-dev/kubectl-logstack/pkg/version.Version="+pluginVersion, "-o", pluginBinary, "./cmd/kubectl-logstack")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the plugin: %w\n%s", err, out)
	}
	return nil
}

// pluginVersion is newer than all sample installations.
const pluginVersion = "v0.2.0-test"

func startRig(ctx context.Context, dir string) (err error) {
	if shared, err = rig.Start(ctx, rig.Options{Dir: filepath.Join(dir, "rig"), Log: os.Stderr}); err != nil {
		return err
	}
	if objects, err = dynamic.NewForConfig(shared.Config()); err != nil {
		return err
	}
	if _, err = shared.AddNode(ctx, "node-a"); err != nil {
		return err
	}
	_, err = shared.Client().StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: defaultClass, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "example.org/none",
	}, metav1.CreateOptions{})
	return err
}

// startControllers runs those of Kubernetes' own controllers that an installation
// meets: they make pods (and tell when admission refuses them), collect what was
// deleted and empty namespaces.
func startControllers(ctx context.Context, dir string) (*proc.Manager, error) {
	cache, err := binaries.Open("", os.Stderr)
	if err != nil {
		return nil, err
	}
	program, err := cache.Build(ctx, "kube-controller-manager")
	if err != nil {
		return nil, err
	}
	m, err := proc.NewManager(filepath.Join(dir, "controllers"), os.Stderr)
	if err != nil {
		return nil, err
	}
	return m, m.Start(ctx, proc.Spec{
		Name: "kube-controller-manager", Path: program, Dir: dir, DieWithParent: true, StopTimeout: 5 * time.Second,
		Args: []string{
			"--kubeconfig=" + shared.Kubeconfig(), "--leader-elect=false", "--secure-port=0",
			"--controllers=statefulset-controller,garbage-collector-controller,namespace-controller,persistentvolumeclaim-protection-controller,resourcequota-controller",
		},
	})
}

type result struct {
	stdout, stderr string
	code           int
}

// as runs the plugin with a kubeconfig.
func as(t *testing.T, kubeconfig string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return execute(ctx, t, "", pluginBinary, append([]string{"--kubeconfig", kubeconfig}, args...)...)
}

// plugin runs the plugin as the cluster's administrator.
func plugin(t *testing.T, args ...string) result {
	t.Helper()
	return as(t, shared.Kubeconfig(), args...)
}

func execute(ctx context.Context, t *testing.T, stdin, name string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "KUBECONFIG=")
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	r := result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
	if err != nil && r.code < 0 {
		t.Fatalf("%s %q: %v\n%s", name, args, err, r.stderr)
	}
	return r
}

// want checks a result; each text has to be in what was said.
func (r result) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	var wrong []string
	if r.code != code {
		wrong = append(wrong, fmt.Sprintf("exit code %d, want %d", r.code, code))
	}
	for _, text := range texts {
		if !strings.Contains(r.stdout+r.stderr, text) {
			wrong = append(wrong, fmt.Sprintf("%q is missing", text))
		}
	}
	if len(wrong) > 0 {
		t.Fatalf("%s\nstdout:\n%s\nstderr:\n%s", strings.Join(wrong, "\n"), r.stdout, r.stderr)
	}
}

func kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := execute(ctx, t, stdin, kubectlBinary, append([]string{"--kubeconfig", shared.Kubeconfig()}, args...)...)
	if r.code != 0 {
		t.Fatalf("kubectl %q: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// remove takes an installation out at the end of a test, with its pods, which no
// kubelet ends, and its claims.
func remove(t *testing.T, namespace string) {
	t.Cleanup(func() {
		endPods(t, namespace)
		plugin(t, "uninstall", "-n", namespace).want(t, 0)
		kubectl(t, "", "delete", "pvc", "-n", namespace, "--all")
	})
}

// eventually polls until f says that it holds; f returns what is missing.
func eventually(t *testing.T, f func() (missing string)) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		missing := f()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(missing)
		}
		<-time.After(100 * time.Millisecond) // another process: nothing to wait on
	}
}
