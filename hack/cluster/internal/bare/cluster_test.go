package bare

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/images"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/kube"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/proc"
)

// testLog passes progress lines to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// TestCluster runs the real thing, so it runs only where LOGSTACK_CLUSTER_TEST=1
// says that this machine may be used, as root. A cluster that is up is used and
// left up; otherwise the test starts one, and compares the machine before with
// the machine after.
func TestCluster(t *testing.T) {
	if os.Getenv("LOGSTACK_CLUSTER_TEST") != "1" {
		t.Skip("set LOGSTACK_CLUSTER_TEST=1 to start a cluster on this machine")
	}
	if err := Preflight(); err != nil {
		t.Fatal(err)
	}
	c, err := New("", testLog{t})
	if err != nil {
		t.Fatal(err)
	}
	wasUp := c.exists()
	if err := installPackages(t.Context(), c.log); err != nil {
		t.Fatal(err)
	}
	before := machine(t)
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kube.Open(c.Kubeconfig(), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	ct := &clusterTest{Cluster: c, client: client, ns: namespace(t, client, wasUp)}
	t.Run("Version", ct.version)
	t.Run("PodReachesServices", ct.podReachesServices)
	t.Run("PodSecurity", ct.podSecurity)
	t.Run("LogsRotate", ct.logsRotate)
	t.Run("Volumes", ct.volumes)
	t.Run("DeadComponentIsRestarted", ct.deadComponent)
	if wasUp {
		t.Log("the cluster was up before: it stays up, and taking it down is not tested")
		return
	}
	t.Run("SurvivesKillOfEverything", ct.killAll)
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := machine(t)
	for kind := range before {
		for _, item := range difference(after[kind], before[kind]) {
			t.Errorf("%s left behind: %s", kind, item)
		}
		for _, item := range difference(before[kind], after[kind]) {
			t.Errorf("%s lost: %s", kind, item)
		}
	}
}

// machine describes what a cluster must leave as it was.
func machine(t *testing.T) map[string][]string {
	t.Helper()
	counters := regexp.MustCompile(`\[\d+:\d+\]|^#.*`)
	command := func(keep func(string) bool, name string, args ...string) []string {
		out, err := exec.CommandContext(t.Context(), name, args...).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var lines []string
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(counters.ReplaceAllString(line, "")); keep(line) {
				lines = append(lines, line)
			}
		}
		sort.Strings(lines)
		return lines
	}
	// Tables and built-in chains appear when somebody looks at them.
	rule := func(line string) bool {
		return strings.HasPrefix(line, "-A") || strings.HasPrefix(line, ":") && strings.HasSuffix(line, "-")
	}
	m := map[string][]string{"firewall": command(rule, "iptables-save"), "IPv6 firewall": command(rule, "ip6tables-save")}
	mounts, err := mountsUnder("/")
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(mounts)
	m["mount"] = mounts
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		m["interface"] = append(m["interface"], fmt.Sprintf("%s %v", l.Name, addrs))
	}
	for _, name := range sysctls {
		v, err := os.ReadFile(sysctlPath(name))
		if err == nil {
			m["sysctl"] = append(m["sysctl"], name+"="+strings.TrimSpace(string(v)))
		}
	}
	for _, dir := range append([]string{DefaultDir}, foreignDirs...) {
		if _, err := os.Lstat(dir); err == nil {
			m["directory"] = append(m["directory"], dir)
		}
	}
	m["control group"] = cgroupDirs()
	return m
}

func difference(a, b []string) []string {
	var only []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			only = append(only, x)
		}
	}
	return only
}

// namespace makes a restricted namespace, and deletes it afterwards where the
// cluster itself stays.
func namespace(t *testing.T, client kubernetes.Interface, stays bool) string {
	t.Helper()
	ns, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "cluster-test-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !stays {
			return
		}
		if err := client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return ns.Name
}

type clusterTest struct {
	*Cluster
	client kubernetes.Interface
	ns     string
}

// start runs loggen as a pod and waits until it runs.
func (c *clusterTest) start(t *testing.T, name string, change func(*corev1.Pod), args ...string) *corev1.Pod {
	t.Helper()
	yes, no, id := true, false, int64(65532)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.ns},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &id, FSGroup: &id,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "loggen", Image: images.Loggen.Tag, Args: args,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
	if change != nil {
		change(pod)
	}
	if _, err := c.client.CoreV1().Pods(c.ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var running *corev1.Pod
	err := kube.WaitFor(t.Context(), "pod does not run", time.Minute, func(ctx context.Context) error {
		p, err := c.client.CoreV1().Pods(c.ns).Get(ctx, name, metav1.GetOptions{})
		if err == nil && p.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("it is %s: %+v", p.Status.Phase, p.Status.ContainerStatuses)
		}
		running = p
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return running
}

func (c *clusterTest) version(t *testing.T) {
	v, err := c.client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	node, err := c.client.CoreV1().Nodes().Get(t.Context(), NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if v.GitVersion != binaries.KubernetesVersion || node.Status.NodeInfo.KubeletVersion != binaries.KubernetesVersion {
		t.Errorf("API %s, kubelet %s, want %s", v.GitVersion, node.Status.NodeInfo.KubeletVersion, binaries.KubernetesVersion)
	}
}

// podReachesServices looks at the cluster from inside a pod's network.
func (c *clusterTest) podReachesServices(t *testing.T) {
	pod := c.start(t, "network", nil, "-rate=1")
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(filepath.Join(c.p.pki(), "ca.crt"))
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no authority", err)
	}
	inPod(t, c.p.in("containerd", "state"), pod.Status.PodIP, func() {
		conn, err := tls.Dial("tcp", ServiceIP+":443", &tls.Config{RootCAs: roots, ServerName: "kubernetes.default.svc"})
		if err != nil {
			t.Errorf("API through its Service: %v", err)
			return
		}
		conn.Close()
	})
	for _, network := range []string{"udp", "tcp"} {
		var socket net.Conn
		inPod(t, c.p.in("containerd", "state"), pod.Status.PodIP, func() {
			var err error
			if socket, err = net.DialTimeout(network, DNSIP+":53", 5*time.Second); err != nil {
				t.Fatalf("DNS over %s: %v", network, err)
			}
		})
		resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return socket, nil }}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		addrs, err := resolver.LookupIP(ctx, "ip4", "kubernetes.default.svc."+clusterDomain+".")
		cancel()
		if err != nil || len(addrs) != 1 || addrs[0].String() != ServiceIP {
			t.Errorf("DNS over %s: %v, %v", network, addrs, err)
		}
	}
}

// inPod runs f on a thread inside the network namespace that has ip.
func inPod(t *testing.T, state, ip string, f func()) {
	t.Helper()
	mounts, err := mountsUnder(state)
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	host, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	defer func() {
		if err := netns.Set(host); err != nil {
			t.Fatal(err)
		}
	}()
	for _, m := range mounts {
		if filepath.Base(filepath.Dir(m)) != "netns" {
			continue
		}
		pod, err := netns.GetFromPath(m)
		if err != nil {
			continue // removed meanwhile
		}
		err = netns.Set(pod)
		pod.Close()
		if err != nil {
			t.Fatal(err)
		}
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			if strings.HasPrefix(a.String(), ip+"/") {
				f()
				return
			}
		}
	}
	t.Fatalf("no network namespace has the address %s", ip)
}

func (c *clusterTest) podSecurity(t *testing.T) {
	_, err := c.client.CoreV1().Pods(c.ns).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "host-path"},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: images.Loggen.Tag}},
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}}}},
		},
	}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted:latest"`) {
		t.Errorf("got %v", err)
	}
}

// logsRotate writes more than the kubelet keeps and looks at the files.
func (c *clusterTest) logsRotate(t *testing.T) {
	pod := c.start(t, "rotate", nil, "-rate=4000", "-count=20000", "-pad=200", "-hold")
	dir := c.p.in("pod-logs", fmt.Sprintf("%s_%s_%s", c.ns, pod.Name, pod.UID), "loggen")
	err := kube.WaitFor(t.Context(), "the log did not rotate", time.Minute, func(context.Context) error {
		files, err := filepath.Glob(filepath.Join(dir, "0.log.*"))
		if err == nil && len(files) < 2 {
			err = fmt.Errorf("only %v", files)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	one := int64(1)
	out, err := c.client.CoreV1().Pods(c.ns).GetLogs(pod.Name, &corev1.PodLogOptions{TailLines: &one}).DoRaw(t.Context())
	if err != nil || !bytes.Contains(out, []byte("seq=")) {
		t.Errorf("logs through the API: %q, %v", out, err)
	}
}

// volumes checks that a claim gets a directory that the pod's group may write,
// and that the directory goes with the claim.
func (c *clusterTest) volumes(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if _, err := c.client.CoreV1().PersistentVolumeClaims(c.ns).Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.start(t, "volume", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	}, "-rate=1")
	bound, err := c.client.CoreV1().PersistentVolumeClaims(c.ns).Get(t.Context(), "data", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(c.p.volumes(), bound.Spec.VolumeName)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if gid := info.Sys().(*syscall.Stat_t).Gid; gid != 65532 || info.Mode().Perm()&0o070 != 0o070 {
		t.Errorf("%s has group %d and mode %v", dir, gid, info.Mode())
	}
	now := int64(0)
	if err := c.client.CoreV1().Pods(c.ns).Delete(t.Context(), "volume", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	if err := c.client.CoreV1().PersistentVolumeClaims(c.ns).Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	err = kube.WaitFor(t.Context(), "the volume is still there", time.Minute, func(context.Context) error {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %v", dir, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func (c *clusterTest) deadComponent(t *testing.T) {
	c.kill(t, binaries.Scheduler)
	if err := c.Healthy(t.Context()); err == nil || !strings.Contains(err.Error(), binaries.Scheduler) {
		t.Errorf("without the scheduler: %v", err)
	}
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// killAll is a crash of everything but the pods: what starts after it must find
// its way among the shims, mounts and pid files of the first life.
func (c *clusterTest) killAll(t *testing.T) {
	for _, name := range append([]string{containerdName}, components...) {
		c.kill(t, name)
	}
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.start(t, "after-crash", nil, "-rate=1")
}

func (c *clusterTest) kill(t *testing.T, name string) {
	t.Helper()
	m, err := proc.NewManager(c.p.root, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Get(name)
	if err != nil || p == nil {
		t.Fatalf("%s: %v, %v", name, p, err)
	}
	if err := syscall.Kill(p.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err = kube.WaitFor(t.Context(), name+" survives", 10*time.Second, func(context.Context) error {
		if p.Alive() {
			return errors.New("still alive")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
