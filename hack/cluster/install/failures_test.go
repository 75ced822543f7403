package install

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
)

// untouched fails when an installation has left anything.
func untouched(t *testing.T, namespace string) {
	t.Helper()
	if left := installed(t, namespace); len(left) > 0 {
		t.Errorf("something was changed: %v", left)
	}
}

func namespace(t *testing.T, name, labels string) {
	t.Helper()
	kubectl(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+name+", labels: {"+labels+"}}\n", "apply", "-f", "-")
}

func rule(group, resources string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: strings.Split(resources, ","), Verbs: verbs}
}

func account(t *testing.T, name string, rules ...rbacv1.PolicyRule) (kubeconfig string) {
	t.Helper()
	kubeconfig, err := shared.ServiceAccount(context.Background(), rig.ServiceAccount{Namespace: "people", Name: name, Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// TestNoRights: what is not allowed is named before anything is changed, and if
// that is skipped, where it broke off.
func TestNoRights(t *testing.T) {
	const ns = "rights"
	read := rule("", "namespaces,configmaps,services,serviceaccounts,pods,persistentvolumeclaims,nodes,resourcequotas,limitranges", "get", "list")
	readMore := rule("*", "*", "get", "list")
	nobody := account(t, "nobody", rule("", "bindings", "get"))
	as(t, nobody, "install", "-n", ns).want(t, 3, "not allowed: statefulsets.apps", "kubectl auth whoami")
	reader := account(t, "reader", read, readMore)
	as(t, reader, "install", "-n", ns).want(t, 1, "you may not patch, create namespaces", "patch, create clusterroles.rbac.authorization.k8s.io",
		"patch, create statefulsets.apps in namespace "+ns, "ask an administrator", "with --set namespaces=[NAME, …] nothing cluster-wide is needed", "nothing was changed")
	untouched(t, ns)
	as(t, reader, "install", "-n", ns, "--pre").want(t, 1, "✗ rights: you may not", "✓ storage: the volume claim can be bound", "1 errors")

	// Who may write everything may not give away rights that they lack.
	write := []string{"get", "list", "patch", "create", "delete"}
	all := []rbacv1.PolicyRule{
		readMore, rule("", "namespaces,configmaps,services,serviceaccounts", write...), rule("networking.k8s.io", "networkpolicies", write...),
		rule("rbac.authorization.k8s.io", "clusterroles,clusterrolebindings,roles,rolebindings", write...),
	}
	writer := account(t, "writer", append(all, rule("apps", "statefulsets", write...))...)
	as(t, writer, "install", "-n", ns).want(t, 1, "you may not give the collector rights that you lack: watch", "nothing was changed")
	untouched(t, ns)

	// One right lacks, and nobody looked before.
	part := account(t, "part", append(all, rule("", "pods,pods/log,namespaces,events,services/proxy", "get", "list", "watch"), rule("rbac.authorization.k8s.io", "clusterroles,roles", "escalate", "bind"))...)
	remove(t, ns)
	r := as(t, part, "install", "-n", ns, "--skip-pre", "--wait=false")
	r.want(t, 3, "error: statefulset/logstack: not allowed:", `cannot patch resource "statefulsets" in API group "apps" in the namespace "rights"`,
		"objects are applied: run the same command again to go on, or take them out: kubectl logstack uninstall -n rights")
}

// TestNoStorageClass sees both that it is predicted and that a wait ends.
func TestNoStorageClass(t *testing.T) {
	const ns = "no-class"
	plugin(t, "install", "-n", ns, "--storage-class", "fast").want(t, 1, `StorageClass "fast" does not exist`, "name another one with --storage-class (there are: default", "nothing was changed")
	untouched(t, ns)
	kubectl(t, "", "annotate", "storageclass", defaultClass, "storageclass.kubernetes.io/is-default-class-")
	defer kubectl(t, "", "annotate", "storageclass", defaultClass, "storageclass.kubernetes.io/is-default-class=true")
	plugin(t, "install", "-n", ns).want(t, 1, "no StorageClass was named and the cluster has no default one", "--ephemeral")
	untouched(t, ns)
	remove(t, ns)
	plugin(t, "install", "-n", ns, "--skip-pre").want(t, 1, "persistentvolumeclaim/data-logstack-0: no StorageClass was named", "first: kubectl logstack uninstall --purge -n no-class")
	plugin(t, "install", "-n", "no-class-2", "--ephemeral", "--pre").want(t, 0, "✓ storage", "0 errors")
}

// TestPodSecurityRefuses: somebody's webhook adds a volume that admission refuses.
// No pod exists then; the controller's event is what tells.
func TestPodSecurityRefuses(t *testing.T) {
	const ns = "refused"
	namespace(t, ns, "pod-security.kubernetes.io/enforce: restricted")
	remove(t, ns)
	plugin(t, "install", "-n", ns, "--wait=false").want(t, 0)
	kubectl(t, `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: logstack, namespace: refused}
spec: {template: {spec: {volumes: [{name: varlog, hostPath: {path: /var/log}}], containers: [{name: collector, volumeMounts: [{name: varlog, mountPath: /var/log}]}]}}}
`, "apply", "--server-side", "--field-manager=webhook", "-f", "-")
	kubectl(t, "", "delete", "pods", "-n", ns, "--all", "--force", "--grace-period=0")
	plugin(t, "install", "-n", ns, "--timeout", "30s").want(t, 1, `violates PodSecurity "restricted:latest"`, `uses restricted volume type "hostPath"`, "Warning: would violate PodSecurity", "check the namespace's pod-security labels")
}

// TestBadImage: the wait ends when the kubelet has given up twice.
func TestBadImage(t *testing.T) {
	const ns = "bad-image"
	remove(t, ns)
	defer play(t, ns, func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodPending
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "collector", Image: p.Spec.Containers[0].Image, ImageID: "",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "manifest for registry.example/collector:v9 not found"}},
		}}
	})()
	plugin(t, "install", "-n", ns, "--image", "registry.example/collector:v9").want(t, 1,
		"pod/logstack-0: image registry.example/collector:v9 cannot be pulled: manifest for registry.example/collector:v9 not found", "name an image that the nodes can pull with --image")
}

// TestConflict names who owns the fields.
func TestConflict(t *testing.T) {
	const ns = "conflict"
	remove(t, ns)
	plugin(t, "install", "-n", ns, "--wait=false").want(t, 0)
	kubectl(t, "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: logstack, namespace: "+ns+"}\nspec: {template: {spec: {priorityClassName: system-node-critical, containers: [{name: collector, image: other}]}}}\n",
		"apply", "--server-side", "--field-manager=helm", "--force-conflicts", "-f", "-")
	r := plugin(t, "install", "-n", ns, "--wait=false", "--retention", "9d")
	r.want(t, 1, "statefulset/logstack: others manage fields that this would change", "helm: ", `.spec.template.spec.containers[name="collector"].image`, "a Helm release: change its values", "--force-conflicts takes the fields over")
	plugin(t, "diff", "-n", ns).want(t, 3, "helm: ")
	plugin(t, "install", "-n", ns, "--wait=false", "--force-conflicts", "--set", "priorityClass=").want(t, 0, "statefulset/logstack configured")
}

// TestOthers: what is not ours is not touched, and who would undo it is named.
func TestOthers(t *testing.T) {
	const ns = "others"
	namespace(t, ns, "team: shop")
	kubectl(t, "", "create", "service", "clusterip", "logstack", "--tcp=80", "-n", ns)
	plugin(t, "install", "-n", ns).want(t, 1, "service/logstack: exists in namespace others and was not made by kubectl logstack", "nothing was changed")
	untouched(t, ns)
	kubectl(t, "", "delete", "service", "logstack", "-n", ns)
	remove(t, ns)
	plugin(t, "install", "-n", ns, "--wait=false").want(t, 0)
	if got := kubectl(t, "", "get", "ns", ns, "-o", `jsonpath={.metadata.labels}`); strings.Contains(got, "pod-security") {
		t.Errorf("somebody else's namespace was labelled: %s", got)
	}
	kubectl(t, "", "label", "statefulset", "logstack", "-n", ns, "kustomize.toolkit.fluxcd.io/name=infra", "kustomize.toolkit.fluxcd.io/namespace=flux-system")
	plugin(t, "install", "-n", ns, "--retention", "9d").want(t, 1, "statefulset/logstack: is managed by Flux (Kustomization infra), which would undo what you change here", "kubectl logstack export DIR")
}

// TestRoom: quotas, limits, nodes and references are looked at before.
func TestRoom(t *testing.T) {
	const ns = "room"
	namespace(t, ns, "team: shop")
	kubectl(t, `
apiVersion: v1
kind: ResourceQuota
metadata: {name: small, namespace: room}
spec: {hard: {requests.memory: 32Mi, requests.storage: 1Gi, limits.cpu: "1"}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: range, namespace: room}
spec: {limits: [{type: Container, max: {memory: 128Mi}}]}
`, "apply", "-f", "-")
	plugin(t, "install", "-n", ns, "--pre", "--set", "nodeSelector.disk=ssd", "--set", "priorityClass=vip", "--set", "tls.secretName=cert", "--set", "auth.secretName=auth", "--set", "namespaces=[nowhere]").want(t, 1,
		"resourcequota/small: requests.memory: 64Mi is needed and 32Mi of 32Mi is left",
		"resourcequota/small: requests.storage: 10Gi is needed and 1Gi of 1Gi is left",
		"resourcequota/small: it wants a CPU limit of every pod",
		"limitrange/range: resources.memory 256Mi is more than the 128Mi that a container may have",
		"none of the 1 nodes has the labels of nodeSelector: disk=ssd",
		"priorityclass/vip: does not exist", "secret/cert: does not exist in namespace room", "kubectl create secret tls cert -n room",
		"secret/auth: does not exist", "kubectl create secret generic auth -n room --from-literal=token=$(openssl rand -hex 32)",
		"namespace/nowhere: does not exist, and namespaces[0] names it")
	untouched(t, ns)
	// Admission says the same.
	remove(t, ns)
	plugin(t, "install", "-n", ns, "--skip-pre", "--ephemeral", "--timeout", "30s").want(t, 1, "statefulset/logstack: ", "forbidden: ")
}

// TestTimeout says what was missing.
func TestTimeout(t *testing.T) {
	const ns = "slow"
	remove(t, ns)
	plugin(t, "install", "-n", ns, "--timeout", "2s").want(t, 1, "not ready in time: ", "kubectl logstack status -n slow; wait longer: --timeout")
}

// TestInterrupted: Ctrl-C ends a wait and says what stays.
func TestInterrupted(t *testing.T) {
	const ns = "interrupted"
	remove(t, ns)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd, out := start(ctx, t, shared.Kubeconfig(), "install", "-n", ns)
	eventually(t, func() string {
		if !strings.Contains(out.String(), "waiting:") {
			return "it does not wait"
		}
		return ""
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(out.String(), "interrupted: what was applied stays; run the same command again to go on") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestAPIServerGone: one that is away for a while is waited for.
func TestAPIServerGone(t *testing.T) {
	const ns = "gone"
	remove(t, ns)
	proxy, err := shared.NewProxy()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := shared.ServiceAccount(context.Background(), rig.ServiceAccount{Namespace: "people", Name: "everything", Rules: []rbacv1.PolicyRule{rule("*", "*", "*")}, Server: proxy.URL()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd, out := start(ctx, t, kubeconfig, "install", "-n", ns, "--timeout", "20s")
	await := func(text string) {
		eventually(t, func() string {
			if !strings.Contains(out.String(), text) {
				return text + " is missing in:\n" + out.String()
			}
			return ""
		})
	}
	await("waiting:")
	proxy.SetRefuse(true)
	proxy.Cut()
	await("the API server does not answer: ")
	proxy.SetRefuse(false)
	stop := play(t, ns, running)
	defer stop()
	await("pod/logstack-0: ready")
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()

	// With nobody there from the beginning it ends at once.
	proxy.SetRefuse(true)
	as(t, kubeconfig, "install", "-n", ns).want(t, 3, "cannot reach the API server", "is the cluster running")
}

// TestDowngrade: an old collector is not put on data that it cannot read.
func TestDowngrade(t *testing.T) {
	const ns = "downgrade"
	remove(t, ns)
	plugin(t, "install", "-n", ns, "--wait=false").want(t, 0)
	kubectl(t, "", "annotate", "statefulset", "logstack", "-n", ns, "logstack.dev/store-format=99", "--overwrite")
	before := installed(t, ns)
	plugin(t, "upgrade", "-n", ns).want(t, 1, "the stored logs are of format 99", "knows formats up to 2: it would not start", "kubectl krew upgrade logstack", "kubectl logstack uninstall --purge -n downgrade")
	compare(t, "refused", before, installed(t, ns))
}

// TestRollback: what was ready comes back as it was, also after a run that was
// ready for others; a first installation is taken out.
func TestRollback(t *testing.T) {
	const ns = "rollback"
	remove(t, ns)
	plugin(t, "upgrade", "-n", ns).want(t, 2, "nothing is installed in namespace rollback")
	plugin(t, "upgrade", "-n", ns, "--rollback").want(t, 1, "there is nothing to go back to")
	stop := play(t, ns, func(p *corev1.Pod) {
		if strings.HasSuffix(p.Spec.Containers[0].Image, ":bad") {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "collector", Image: "bad", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 1, Message: "cannot open the data directory"}}}}
			return
		}
		running(p)
	})
	defer stop()
	plugin(t, "install", "-n", ns, "--ephemeral", "--image", "registry.example/c:bad", "--rollback-on-failure").want(t, 1, "cannot open the data directory", "what was new has been taken out again")
	untouched(t, ns)
	// No kubelet answers for the first line, which is after the record.
	plugin(t, "install", "-n", ns, "--ephemeral", "--image", "registry.example/c:good", "--timeout", "20s").want(t, 3, "statefulset/logstack created", "pod/logstack-0: ready")
	before := installed(t, ns)
	plugin(t, "upgrade", "-n", ns, "--image", "registry.example/c:bad", "--retention", "9d", "--set", "networkPolicy=false", "--timeout", "20s").want(t, 1,
		"the collector exits (Error, code 1): cannot open the data directory", "go back to what was ready before ("+pluginVersion+"): kubectl logstack upgrade --rollback -n rollback")
	plugin(t, "upgrade", "-n", ns, "--rollback", "--timeout", "20s").want(t, 0, "networkpolicy/logstack created", "what was ready before is back")
	compare(t, "rolled back by hand", before, installed(t, ns))
	plugin(t, "upgrade", "-n", ns, "--image", "registry.example/c:bad", "--set", "limits.max_line_size=1MB", "--rollback-on-failure", "--timeout", "20s").want(t, 1,
		"rolling back: ", "configmap/logstack-limits deleted", "rolled back: what was ready before ("+pluginVersion+") is ready again")
	compare(t, "rolled back by itself", before, installed(t, ns))
}

// start runs the plugin in the background.
func start(ctx context.Context, t *testing.T, kubeconfig string, args ...string) (*exec.Cmd, *lockedBuffer) {
	t.Helper()
	cmd := exec.CommandContext(ctx, pluginBinary, append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+home, "KUBECONFIG=")
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// running is a pod that is well.
func running(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.ContainersReady, Status: corev1.ConditionTrue}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "collector", Image: p.Spec.Containers[0].Image, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}}
}

// play is the scheduler and the kubelet for the pods of a namespace, until the
// returned function is called.
func play(t *testing.T, namespace string, status func(*corev1.Pod)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	pods := shared.Client().CoreV1().Pods(namespace)
	go func() {
		defer close(done)
		seen := map[types.UID]bool{}
		for ctx.Err() == nil {
			list, err := pods.List(ctx, metav1.ListOptions{})
			if err != nil {
				continue
			}
			for i := range list.Items {
				p := &list.Items[i]
				switch {
				case p.DeletionTimestamp != nil:
					now := int64(0)
					_ = pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
				case p.Spec.NodeName == "":
					_ = pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "node-a"}}, metav1.CreateOptions{})
				case !seen[p.UID]:
					status(p)
					if _, err := pods.UpdateStatus(ctx, p, metav1.UpdateOptions{}); err == nil {
						seen[p.UID] = true
					}
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // a kubelet's loop
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
