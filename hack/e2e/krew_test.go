package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/release/krew"
)

// krewNamespace has the pod whose lines outlive the upgrade.
const krewNamespace = "e2e-krew"

// TestKrew goes the way of a person who uses Krew: the release of this commit is
// built, its manifest checked by the index's rules, its archive unpacked and
// linked as Krew does it, and everything called as `kubectl logstack`. Nothing
// names an image: the plugin of a release installs the collector of that release.
// Then the next release comes, and in the end nothing is left in the cluster.
func TestKrew(t *testing.T) {
	plugin(t, "uninstall", "--purge")
	mustKubectl(t, "", "delete", "namespace", krewNamespace, "e2e-grafana", "--ignore-not-found", "--wait=true")
	mustKubectl(t, sleepingGrafana, "apply", "-f", "-")
	before := objects(t)
	root := krew.Root(t.TempDir())
	t.Setenv("KREW_ROOT", string(root))
	t.Setenv("PATH", root.Bin()+string(os.PathListSeparator)+os.Getenv("PATH"))
	logstack := func(args ...string) string {
		t.Helper()
		return mustKubectl(t, "", append([]string{"logstack"}, args...)...)
	}

	installRelease(t, root, "v0.1.0-e2e.1")
	t.Run("called through kubectl", func(t *testing.T) {
		if out := logstack("version"); !strings.Contains(out, "v0.1.0-e2e.1") {
			t.Errorf("version: %s", out)
		}
		if out := logstack("query", "--help"); !strings.Contains(out, "\n  kubectl logstack query ") || strings.Contains(out, "kubectl-logstack") {
			t.Errorf("the help names it otherwise than it is called:\n%s", out)
		}
	})
	t.Run("completion through kubectl", func(t *testing.T) {
		path := strings.TrimSpace(logstack("completion", "kubectl", "--install"))
		if filepath.Dir(path) != root.Bin() {
			t.Errorf("written to %s, want %s", path, root.Bin())
		}
		if out := mustKubectl(t, "", "__complete", "logstack", "que"); !strings.HasPrefix(out, "query") {
			t.Errorf("commands: %s", out)
		}
		if out := mustKubectl(t, "", "__complete", "logstack", "query", "--output", ""); !strings.Contains(out, "\njsonl\n") {
			t.Errorf("values of a flag: %s", out)
		}
	})

	logstack("install")
	if got := mustKubectl(t, "", "get", "ns", "logstack", "-o", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`); got != "restricted" {
		t.Errorf("the namespace enforces %q", got)
	}
	t.Run("the data source and dashboards are where Grafana looks", func(t *testing.T) {
		for _, label := range []string{"e2e/source=yes", "grafana_dashboard=1"} {
			if got := mustKubectl(t, "", "get", "configmap", "-n", "e2e-grafana", "-l", label, "-o", "name"); !strings.Contains(got, "configmap/logstack-da") {
				t.Errorf("with label %s there is %q", label, got)
			}
		}
	})
	t.Run("completion of labels and values from the collector", func(t *testing.T) {
		eventually(t, time.Minute, func() string {
			out := mustKubectl(t, "", "__complete", "logstack", "query", `{namespace="kube-s`)
			if !strings.Contains(out, `namespace="kube-system"`) {
				return "kube-system is not offered: " + out
			}
			return ""
		})
	})
	mustKubectl(t, krewPod, "apply", "-f", "-")
	old := waitForNumber(t, 20)

	installRelease(t, root, "v0.1.0-e2e.2")
	if out := logstack("version"); !strings.Contains(out, "v0.1.0-e2e.2") {
		t.Errorf("after the upgrade of the plugin: %s", out)
	}
	logstack("install")
	if image := mustKubectl(t, "", "get", "pod", "-n", "logstack", "logstack-0", "-o", "jsonpath={.spec.containers[0].image}"); !strings.HasSuffix(image, ":v0.1.0-e2e.2") {
		t.Errorf("after the upgrade the collector is %s", image)
	}
	now := waitForNumber(t, old[len(old)-1]+20)
	for i, n := range now {
		if n != i+1 {
			t.Fatalf("number %d stands where %d should: lost or repeated by the upgrade", n, i+1)
		}
	}
	t.Logf("%d lines before the upgrade, %d after, each number once", len(old), len(now))

	mustKubectl(t, "", "delete", "namespace", krewNamespace, "--wait=true")
	logstack("uninstall")
	t.Run("what uninstall keeps", func(t *testing.T) {
		want := []string{
			"ConfigMap logstack/kube-root-ca.crt", "Namespace /logstack", "PersistentVolumeClaim logstack/data-logstack-0",
			"PersistentVolume of it", "ServiceAccount logstack/default",
		}
		eventually(t, time.Minute, func() string { return differ(want, added(before, objects(t))) })
	})
	logstack("uninstall", "--purge")
	t.Run("nothing is left in the cluster", func(t *testing.T) {
		eventually(t, time.Minute, func() string {
			after := objects(t)
			return differ(nil, added(before, after)) + differ(nil, added(after, before))
		})
	})
	if err := root.Uninstall("logstack", runtime.GOOS); err != nil {
		t.Error(err)
	}
	mustKubectl(t, "", "delete", "namespace", "e2e-grafana", "--wait=true")
}

// sleepingGrafana has what installations look at, and no pod.
const sleepingGrafana = `apiVersion: v1
kind: Namespace
metadata: {name: e2e-grafana}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: grafana, namespace: e2e-grafana}
spec:
  replicas: 0
  selector: {matchLabels: {app: grafana}}
  template:
    metadata: {labels: {app: grafana}}
    spec:
      containers:
        - {name: grafana, image: "docker.io/grafana/grafana:12.2.1"}
        - name: datasources
          image: quay.io/kiwigrid/k8s-sidecar:2.1.2
          env: [{name: LABEL, value: e2e/source}, {name: LABEL_VALUE, value: "yes"}, {name: FOLDER, value: /etc/grafana/provisioning/datasources}]
        - name: dashboards
          image: quay.io/kiwigrid/k8s-sidecar:2.1.2
          env: [{name: LABEL, value: grafana_dashboard}, {name: FOLDER, value: /tmp/dashboards}, {name: NAMESPACE, value: ALL}]
`

// installRelease builds a release for this machine, loads its image into the node
// and installs its plugin.
func installRelease(t *testing.T, root krew.Root, version string) {
	t.Helper()
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	inRepository := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = repository
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
	}
	dir := filepath.Join(t.TempDir(), version)
	arch := runtime.GOARCH
	if arch == "arm" {
		arch = "arm/v7"
	}
	inRepository("go", "run", "./hack/release", "-o", dir, "-version", version,
		"-platforms", "linux/"+runtime.GOARCH, "-image-platforms", "linux/"+arch)
	inRepository("go", "-C", "hack/cluster", "run", ".", "load", filepath.Join(dir, "collector.tar"))
	const name = "logstack.yaml"
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := krew.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(name); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Install(m, filepath.Join(dir, m.Spec.Platforms[0].Archive()), "linux", runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
}

// krewPod writes a number five times a second.
var krewPod = fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer, namespace: %[1]s}
spec:
  terminationGracePeriodSeconds: 2
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: app
      image: %[2]s
      imagePullPolicy: IfNotPresent
      args: ["-format=text", "-rate=5", "-count=100000", "-hold"]
      resources: {requests: {cpu: 1m, memory: 4Mi}}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`, krewNamespace, loggenImage)

// waitForNumber returns all numbers of the pod in the collector once it has come
// to n.
func waitForNumber(t *testing.T, n int) (numbers []int) {
	t.Helper()
	eventually(t, 2*time.Minute, func() string {
		numbers = numbers[:0]
		out := mustKubectl(t, "", "logstack", "query", fmt.Sprintf(`{job="kubernetes-pods", namespace=%q, pod="writer"}`, krewNamespace), "--since", "1h", "--limit", "0", "-o", "jsonl")
		for line := range strings.Lines(out) {
			var e struct{ Line string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			var i int
			if m := seqPattern.FindStringSubmatch(e.Line); m == nil {
				t.Fatalf("a line that nobody wrote: %q", e.Line)
			} else if _, err := fmt.Sscan(m[1], &i); err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, i)
		}
		if len(numbers) == 0 || numbers[len(numbers)-1] < n {
			return fmt.Sprintf("%d numbers, waiting for %d", len(numbers), n)
		}
		return ""
	})
	return numbers
}

// objects lists everything that the cluster has, but for events, which come and
// go by themselves: "Kind namespace/name". A volume has a random name and is
// called by its claim.
func objects(t *testing.T) []string {
	t.Helper()
	var kinds []string
	for kind := range strings.FieldsSeq(mustKubectl(t, "", "api-resources", "--verbs=list", "-o", "name")) {
		if kind != "events" && kind != "events.events.k8s.io" {
			kinds = append(kinds, kind)
		}
	}
	out := mustKubectl(t, "", "get", strings.Join(kinds, ","), "-A", "--ignore-not-found", "-o",
		`jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.spec.claimRef.name}{"\n"}{end}`)
	var names []string
	for line := range strings.Lines(out) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, claim, ofClaim := strings.Cut(rest, " ")
		if kind == "PersistentVolume" && ofClaim && claim == "data-logstack-0" {
			name = "of it"
		}
		names = append(names, kind+" "+name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// added lists what is in after and not in before.
func added(before, after []string) (more []string) {
	for _, o := range after {
		if _, had := slices.BinarySearch(before, o); !had {
			more = append(more, o)
		}
	}
	return more
}

// differ says what is not as wanted, "" if all is.
func differ(want, got []string) string {
	slices.Sort(want)
	if slices.Equal(want, got) {
		return ""
	}
	return fmt.Sprintf("there is more or less than wanted:\n  got  %s\n  want %s\n", strings.Join(got, ", "), strings.Join(want, ", "))
}
