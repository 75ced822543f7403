package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

var now = time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)

// cluster is a fake API server with a Promtail, an Alloy and a Helm release.
// may says what its user is allowed to do.
func cluster(t testing.TB, may func(Right) bool, more ...runtime.Object) (*kube.Client, *fake.Clientset) {
	t.Helper()
	stored, err := EncodeRelease(map[string]any{"name": "loki", "namespace": "monitoring", "version": 12, "info": map[string]any{"status": "deployed"},
		"chart": map[string]any{"metadata": map[string]any{"name": "loki", "version": "6.55.0"}, "values": map[string]any{"loki": map[string]any{"auth_enabled": true}}}, "config": map[string]any{"x": 1}})
	if err != nil {
		t.Fatal(err)
	}
	meta := func(ns, name string, labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}
	}
	ds := func(name, image string, v corev1.VolumeSource) *appsv1.DaemonSet {
		return &appsv1.DaemonSet{ObjectMeta: meta("monitoring", name, map[string]string{"app.kubernetes.io/instance": "loki"}), Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: name, Image: image}}, Volumes: []corev1.Volume{{Name: "config", VolumeSource: v}}}}}}
	}
	objects := append([]runtime.Object{
		&corev1.Namespace{ObjectMeta: meta("", "monitoring", nil)},
		&corev1.Service{ObjectMeta: meta("monitoring", "loki", nil)}, &corev1.Service{ObjectMeta: meta("shop", "web", nil)},
		ds("promtail", "docker.io/grafana/promtail:3.5.1", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "promtail"}}),
		ds("alloy", "docker.io/grafana/alloy:v1.18.1", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "alloy"}}}),
		&corev1.Secret{ObjectMeta: meta("monitoring", "promtail", nil), Data: map[string][]byte{"promtail.yaml": []byte("clients: [{url: http://loki:3100/loki/api/v1/push}]\npositions: {}\n")}},
		&corev1.Secret{ObjectMeta: meta("monitoring", "db-password", nil), Data: map[string][]byte{"p": []byte("hunter2")}},
		&corev1.Secret{ObjectMeta: meta("monitoring", "sh.helm.release.v1.loki.v9", map[string]string{"owner": "helm", "name": "loki", "version": "9", "status": "superseded"}), Type: "helm.sh/release.v1"},
		&corev1.Secret{ObjectMeta: meta("monitoring", "sh.helm.release.v1.loki.v12", map[string]string{"owner": "helm", "name": "loki", "version": "12", "status": "deployed"}), Type: "helm.sh/release.v1", Data: map[string][]byte{"release": stored}},
		&corev1.ConfigMap{ObjectMeta: meta("monitoring", "alloy", nil), Data: map[string]string{"config.alloy": "loki.write \"x\" { }\n"}},
		&corev1.ConfigMap{ObjectMeta: meta("shop", "big", nil), Data: map[string]string{"x": "y"}},
		&corev1.ConfigMap{ObjectMeta: meta("grafana", "ds", map[string]string{GrafanaLabel: "1"}), Data: map[string]string{"x.yaml": "datasources: []"}},
	}, more...)
	c := fake.NewClientset(objects...)
	c.PrependReactor("create", "selfsubjectaccessreviews", func(a k8stesting.Action) (bool, runtime.Object, error) {
		r := a.(k8stesting.CreateAction).GetObject().(*authv1.SelfSubjectAccessReview)
		ra := r.Spec.ResourceAttributes
		r.Status.Allowed = may(Right{Verb: ra.Verb, Group: ra.Group, Resource: ra.Resource, Subresource: ra.Subresource, Namespace: ra.Namespace})
		return true, r, nil
	})
	c.PrependReactor("*", "*", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if a.GetVerb() == "create" || a.GetResource().Resource == "version" {
			return false, nil, nil
		}
		r := Right{Verb: a.GetVerb(), Group: a.GetResource().Group, Resource: a.GetResource().Resource, Namespace: a.GetNamespace()}
		if g, ok := a.(k8stesting.GetAction); ok && r.Resource == "namespaces" {
			r.Namespace = g.GetName()
		}
		if !may(r) && !(r.Namespace != "" && may(Right{Verb: r.Verb, Group: r.Group, Resource: r.Resource})) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: r.Group, Resource: r.Resource}, "", errors.New("no"))
		}
		return false, nil, nil
	})
	return &kube.Client{Kube: c, Namespace: "monitoring", Context: "home"}, c
}

func load(t testing.TB, c *kube.Client) *Snapshot {
	t.Helper()
	s, err := Load(context.Background(), Request{Client: c, StackNamespace: "logstack", StackName: "logstack", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLiveAdmin(t *testing.T) {
	c, fakes := cluster(t, func(Right) bool { return true })
	s := load(t, c)
	for _, k := range kinds {
		if m := s.Missing(k.in); m != nil {
			t.Errorf("%s is missing: %v", k.in, m)
		}
		if !k.later && s.Scope(k.in) != nil {
			t.Errorf("%s has a scope: %v", k.in, s.Scope(k.in))
		}
	}
	if len(s.Services()) != 2 || !s.Covers(Services, "nowhere") {
		t.Error("services")
	}
	var products []string
	for _, col := range s.Collectors() {
		products = append(products, string(col.Product)+":"+col.Config.Ref.Object())
	}
	slices.Sort(products)
	if want := []string{"alloy:configmap/monitoring/alloy", "promtail:secret/monitoring/promtail"}; !slices.Equal(products, want) {
		t.Errorf("collectors %v, want %v", products, want)
	}
	if r := s.Releases(); len(r) != 1 || r[0].Chart != "loki" || r[0].Revision != 12 || r[0].Effective("", "loki", "auth_enabled") != "true" {
		t.Errorf("releases %+v", r)
	}
	for _, sec := range s.Secrets() {
		if sec.Name == "db-password" {
			t.Error("a Secret was read that no log stack uses")
		}
	}
	var cms []string
	for _, cm := range s.ConfigMaps() {
		cms = append(cms, cm.Name)
	}
	slices.Sort(cms)
	if !slices.Equal(cms, []string{"alloy", "ds"}) {
		t.Errorf("ConfigMaps %v: those of stacks, and Grafana's", cms)
	}
	if n := len(fakes.Actions()); n > 60 {
		t.Errorf("%d API calls", n)
	}
}

// TestLiveNamespaced: a user of one namespace sees it, and nothing is taken
// for empty that could not be read.
func TestLiveNamespaced(t *testing.T) {
	c, fakes := cluster(t, func(r Right) bool { return r.Namespace == "monitoring" && r.Resource != "secrets" })
	s := load(t, c)
	if len(s.Services()) != 1 || !slices.Equal(s.Scope(Services), []string{"monitoring"}) || s.Covers(Services, "shop") || !s.Covers(Services, "monitoring") {
		t.Errorf("services %v, scope %v", s.Services(), s.Scope(Services))
	}
	if len(s.Namespaces()) != 1 || !s.Covers(Namespaces, "monitoring") {
		t.Error("the namespace itself may be read")
	}
	for _, in := range []Input{Nodes, Secrets, ClusterRoles} {
		m := s.Missing(in)
		if m == nil || m.Right == nil {
			t.Errorf("%s: %v, want the right that lacks", in, m)
		}
	}
	if m := s.Missing(Nodes); m.Error() != "need list nodes" {
		t.Errorf("%q", m.Error())
	}
	blind := 0
	for _, col := range s.Collectors() {
		if col.Err != nil {
			blind++
			if col.Product != Promtail {
				t.Errorf("%s", col.Title())
			}
		}
	}
	if blind != 1 {
		t.Errorf("%d collectors without a configuration, want Promtail's", blind)
	}
	for _, a := range fakes.Actions() {
		if a.GetVerb() == "list" && a.GetNamespace() == "" {
			t.Errorf("listed %s of the whole cluster without the right", a.GetResource().Resource)
		}
	}
	if n := len(fakes.Actions()); n > 100 {
		t.Errorf("%d API calls", n)
	}
}

func TestLiveForbidden(t *testing.T) {
	c, _ := cluster(t, func(Right) bool { return false })
	s := load(t, c)
	for _, k := range kinds {
		if k.custom() {
			continue // the cluster does not have them
		}
		if m := s.Missing(k.in); m == nil || m.Right == nil {
			t.Errorf("%s: %v", k.in, m)
		}
	}
	for _, in := range []Input{Stacks, Collectors, Releases} {
		if s.Missing(in) == nil {
			t.Errorf("%s is taken for empty", in)
		}
	}
}

func TestLiveUnreachable(t *testing.T) {
	c, fakes := cluster(t, func(Right) bool { return true })
	fakes.PrependReactor("get", "version", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("dial tcp 127.0.0.1:6443: connect: connection refused")
	})
	s := load(t, c)
	if m := s.Missing(Server); m == nil || !strings.Contains(m.Error(), "cannot reach the API server") {
		t.Errorf("%v", m)
	}
	if s.Missing(Pods) == nil || s.Missing(Query) == nil {
		t.Error("nothing was read")
	}
}

// TestLiveProbes: our stack is asked when it is there, and a line is only
// written when it answers.
func TestLiveProbes(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logstack"}}
	c, _ := cluster(t, func(Right) bool { return true }, svc)
	asked := 0
	s, err := Load(context.Background(), Request{Client: c, StackNamespace: "logstack", StackName: "logstack", Now: now, Probes: Probes{
		Query:   func(context.Context) *QueryResult { asked++; return &QueryResult{Err: errors.New("refused")} },
		Arrival: func(context.Context) *ArrivalResult { asked++; return nil },
	}})
	if err != nil || asked != 1 || s.Query().Err == nil || s.Missing(Arrival) == nil {
		t.Errorf("asked %d times, %v %v", asked, s.Missing(Arrival), err)
	}
	c, _ = cluster(t, func(Right) bool { return true })
	if s = load(t, c); s.Missing(Query) == nil {
		t.Error("there is nothing to ask")
	}
}

func TestClusterDomain(t *testing.T) {
	c, _ := cluster(t, func(Right) bool { return true }, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "coredns"},
		Data: map[string]string{"Corefile": ".:53 {\n    errors\n    kubernetes k8s.home in-addr.arpa ip6.arpa {\n    }\n}\n"}})
	if s := load(t, c); s.Domain != "k8s.home" || s.DomainFrom != "CoreDNS's Corefile" {
		t.Errorf("%s by %s", s.Domain, s.DomainFrom)
	}
}

// TestWhatIf: files lie over the cluster's objects of the same name.
func TestWhatIf(t *testing.T) {
	c, _ := cluster(t, func(Right) bool { return true })
	file := write(t, "svc.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: loki, namespace: monitoring, labels: {from: file}}\n")
	s, err := Load(context.Background(), Request{Client: c, Files: []string{file}, StackNamespace: "logstack", StackName: "logstack", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	svc, ok := Find(s.Services(), "monitoring", "loki")
	if len(s.Services()) != 2 || !ok || svc.Labels["from"] != "file" || s.Ref(svc).File != file || !s.Covers(Services, "shop") {
		t.Errorf("%d services, %+v", len(s.Services()), svc)
	}
	values := write(t, "values.yaml", "y: 2\n")
	s, err = Load(context.Background(), Request{Client: c, Files: []string{values}, FileOptions: FileOptions{Chart: "loki", Release: "loki", Namespace: "monitoring"}, StackNamespace: "logstack", StackName: "logstack", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if r := s.Releases(); len(r) != 1 || r[0].Value("y") == nil || r[0].Version != "6.55.0" || r[0].Defaults == nil {
		t.Errorf("the file's values with the installed chart: %+v", r)
	}
}

func BenchmarkLive5000Pods(b *testing.B) {
	var pods []runtime.Object
	for i := range 5000 {
		pods = append(pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("ns-%d", i%50), Name: fmt.Sprintf("pod-%d", i)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}}})
	}
	c, _ := cluster(b, func(Right) bool { return true }, pods...)
	b.ReportAllocs()
	for b.Loop() {
		if s := load(b, c); len(s.Pods()) != 5000 {
			b.Fatal(len(s.Pods()))
		}
	}
}

// TestScaleUps: the autoscaler's events are no warnings; they are read where a
// pod of a log stack waits for a node, and only there.
func TestScaleUps(t *testing.T) {
	for phase, want := range map[corev1.PodPhase]int{corev1.PodPending: 1, corev1.PodRunning: 0} {
		c, fakes := cluster(t, func(Right) bool { return true },
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "loki-0"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "grafana/loki:3.6.7"}}}, Status: corev1.PodStatus{Phase: phase}})
		load(t, c)
		n := 0
		for _, a := range fakes.Actions() {
			if l, ok := a.(k8stesting.ListAction); ok && strings.Contains(l.GetListRestrictions().Fields.String(), "TriggeredScaleUp") {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d lists of scale-ups, want %d", phase, n, want)
		}
	}
}
