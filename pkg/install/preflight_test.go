package install

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

func node(name, arch string, change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/arch": arch}}}
	n.Status.NodeInfo = corev1.NodeSystemInfo{Architecture: arch, OperatingSystem: "linux"}
	if change != nil {
		change(n)
	}
	return n
}

// Which nodes the pods may run on is known before.
func TestCheckNodes(t *testing.T) {
	tainted := func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule}}
	}
	windows := func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "windows" }
	notReady := func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "node.kubernetes.io/not-ready", Effect: corev1.TaintEffectNoSchedule}}
	}
	for name, tt := range map[string]struct {
		nodes   []runtime.Object
		change  func(*Values)
		want    string // "" for nothing
		warning bool
	}{
		"a cluster of Raspberry Pis": {nodes: []runtime.Object{node("a", "arm64", nil), node("b", "arm", nil)}},
		"not ready just now":         {nodes: []runtime.Object{node("a", "amd64", notReady)}},
		"no nodes":                   {want: "the cluster has no nodes"},
		"another architecture":       {nodes: []runtime.Object{node("a", "s390x", nil)}, want: "the collector's image is for linux on amd64, arm64 and arm, and the nodes are a (linux/s390x)"},
		"some of another":            {nodes: []runtime.Object{node("a", "amd64", nil), node("w", "amd64", windows)}, want: "does not run on w (windows/amd64), where its pod may be put", warning: true},
		"some, and a selector":       {nodes: []runtime.Object{node("a", "amd64", nil), node("z", "s390x", nil)}, change: func(v *Values) { v.NodeSelector = map[string]string{"kubernetes.io/arch": "amd64"} }},
		"a selector for none":        {nodes: []runtime.Object{node("a", "amd64", nil)}, change: func(v *Values) { v.NodeSelector = map[string]string{"disk": "ssd"} }, want: "none of the 1 nodes has the labels of nodeSelector: disk=ssd"},
		"all tainted":                {nodes: []runtime.Object{node("a", "amd64", tainted)}, want: "every node that could run it is tainted: a (node-role.kubernetes.io/control-plane:NoSchedule)"},
		"tolerated":                  {nodes: []runtime.Object{node("a", "amd64", tainted)}, change: func(v *Values) { v.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} }},
	} {
		t.Run(name, func(t *testing.T) {
			v := DefaultValues()
			if tt.change != nil {
				tt.change(&v)
			}
			got, err := checkNodes(context.Background(), &scene{c: &kube.Client{Kube: fake.NewClientset(tt.nodes...)}, v: v})
			switch {
			case err != nil:
				t.Fatal(err)
			case tt.want == "":
				if len(got) > 0 {
					t.Errorf("found %+v", got)
				}
			case len(got) != 1 || !strings.Contains(got[0].Detail, tt.want) || got[0].Warning != tt.warning || got[0].Fix == "":
				t.Errorf("found %+v", got)
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		a, b []string
		want string
	}{
		{nil, nil, "all namespaces"},
		{nil, []string{"shop"}, "namespace shop"},
		{[]string{"shop", "billing"}, nil, "namespace shop, billing"},
		{[]string{"shop", "billing"}, []string{"billing"}, "namespace billing"},
		{[]string{"shop"}, []string{"billing"}, ""},
	} {
		if got := overlap(tt.a, tt.b); got != tt.want {
			t.Errorf("%q and %q: %q, want %q", tt.a, tt.b, got, tt.want)
		}
	}
}

// What a record keeps comes back as it was.
func TestGoodState(t *testing.T) {
	v := DefaultValues()
	v.Retention = "30d"
	next, err := newInstallation(v, v)
	if err != nil {
		t.Fatal(err)
	}
	next.good = next.asGood()
	o, err := next.record()
	if err != nil {
		t.Fatal(err)
	}
	var cm corev1.ConfigMap
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &cm); err != nil {
		t.Fatal(err)
	}
	good, err := goodOf(&cm)
	if err != nil {
		t.Fatal(err)
	}
	want, err := YAML(next.objs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := YAML(good.objs)
	if err != nil || string(got) != string(want) || good.values != next.values || good.format != next.format {
		t.Errorf("%v, %+v", err, good)
	}
	cm.BinaryData[goodManifests] = []byte("damaged")
	if _, err := goodOf(&cm); err == nil || !strings.Contains(err.Error(), "configmap/logstack-install") {
		t.Errorf("a damaged record: %v", err)
	}
}
