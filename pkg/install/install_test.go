package install

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestRenderGolden(t *testing.T) {
	for name, change := range map[string]func(*Values){
		"default": func(*Values) {},
		"pi": func(v *Values) {
			v.Storage.Class, v.Storage.Size, v.Retention, v.Resources.Memory = "local-path", "4Gi", "3d", "96Mi"
			v.NodeSelector, v.PriorityClass = map[string]string{"kubernetes.io/arch": "arm64"}, "system-cluster-critical"
			v.Tolerations = []corev1.Toleration{{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
		},
		"ephemeral": func(v *Values) {
			v.Namespace, v.Storage.Ephemeral, v.NetworkPolicy = "logging", true, false
			v.Image.SetRef("registry.example:5000/collector:v1@sha256:" + strings.Repeat("12", 32))
			v.Image.PullSecrets = []string{"mirror"}
		},
		"full": func(v *Values) {
			v.Namespace, v.Namespaces = "logging", []string{"shop", "billing"}
			v.Image.Registry, v.Image.Tag = "registry.example:5000/mirror", "v1"
			v.Limits = Limits{"max_line_size": "1MB", "max_label_value_length": int64(1000000)}
			v.TLS.SecretName, v.Auth.SecretName = "logstack-tls", "logstack-auth"
			v.ServiceMonitor, v.Grafana.Namespace = AutoOn, "monitoring"
			v.Grafana.Dashboards.Enabled = false // hundreds of lines, see TestDashboards
		},
		"replicas": func(v *Values) {
			v.Namespace, v.Replicas, v.NodeFiles, v.Events, v.Lifecycle = "logging", 3, "backfill", false, false
			v.TLS.SecretName, v.Auth.SecretName = "logstack-tls", "logstack-auth"
			v.Grafana.Namespace, v.Grafana.Token, v.Grafana.CA = "monitoring", "$__env{LOGSTACK_TOKEN}", "$__file{/etc/ca.crt}"
			v.Grafana.Dashboards.Enabled = false
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := DefaultValues()
			change(&v)
			objs, err := Render(v)
			if err != nil {
				t.Fatal(err)
			}
			got, err := YAML(objs)
			if err != nil {
				t.Fatal(err)
			}
			file := "testdata/" + name + ".yaml"
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// Everything that is wrong is told at once.
func TestValidate(t *testing.T) {
	v := Values{Namespace: "Not_A_Name", Storage: Storage{Size: "lots"}, Retention: "soon", Resources: Resources{CPU: "50m", Memory: "1Mi"}}
	err := v.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"Not_A_Name", "image.repository: is empty", `"lots" is not a quantity`, `"soon" is not a duration`, "64Mi is the least"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if err := DefaultValues().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func statefulSet() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: Name, Name: Name, UID: "set"},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/name": Name}},
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "collector", Image: "example/collector:1"}}}},
		},
	}
}

func collectorPod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: Name, Name: Name + "-0", Labels: map[string]string{"app.kubernetes.io/name": Name}},
		Spec:       corev1.PodSpec{NodeName: "node"},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	change(p)
	return p
}

func waiting(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "collector", Image: "example/collector:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
}

// What a person waits for is named; what cannot become ready ends the wait.
func TestInspect(t *testing.T) {
	claim := func(class string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: Name, Name: "data-logstack-0"}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
		if class != "" {
			c.Spec.StorageClassName = &class
		}
		return c
	}
	unscheduled := collectorPod(func(p *corev1.Pod) {
		p.Spec.NodeName = ""
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available: 3 Insufficient memory."}}
	})
	refused := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: Name, Name: "e"},
		InvolvedObject: corev1.ObjectReference{Kind: "StatefulSet", Name: Name, UID: "set"},
		Reason:         "FailedCreate", Message: `pods "logstack-0" is forbidden: violates PodSecurity "restricted:latest"`,
		LastTimestamp: metav1.NewTime(time.Now()),
	}
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local-path"}}
	for name, tc := range map[string]struct {
		objects []runtime.Object
		reason  string
		stuck   bool
	}{
		"nothing installed":       {nil, "there is no StatefulSet", false},
		"pod not there yet":       {[]runtime.Object{statefulSet()}, "the pod is being created", false},
		"refused by admission":    {[]runtime.Object{statefulSet(), refused}, "violates PodSecurity", true},
		"no room":                 {[]runtime.Object{statefulSet(), unscheduled}, "Insufficient memory", false},
		"no default class":        {[]runtime.Object{statefulSet(), unscheduled, claim(""), class}, "no StorageClass was named", true},
		"class does not exist":    {[]runtime.Object{statefulSet(), unscheduled, claim("fast"), class}, `StorageClass "fast" does not exist`, true},
		"image cannot be pulled":  {[]runtime.Object{statefulSet(), collectorPod(waiting("ImagePullBackOff", "manifest unknown"))}, "manifest unknown", true},
		"first pull failed":       {[]runtime.Object{statefulSet(), collectorPod(waiting("ErrImagePull", "i/o timeout"))}, "i/o timeout", false},
		"crash loop":              {[]runtime.Object{statefulSet(), collectorPod(waiting("CrashLoopBackOff", ""))}, "exits again and again", true},
		"container being created": {[]runtime.Object{statefulSet(), collectorPod(waiting("ContainerCreating", ""))}, "being created", false},
	} {
		t.Run(name, func(t *testing.T) {
			st, err := Inspect(context.Background(), &kube.Client{Kube: fake.NewClientset(tc.objects...)}, Name)
			if err != nil {
				t.Fatal(err)
			}
			if st.Ready || !strings.Contains(st.Reason, tc.reason) || (st.Stuck != nil) != tc.stuck {
				t.Errorf("ready %v, reason %q, stuck %v", st.Ready, st.Reason, st.Stuck)
			}
			if st.Stuck != nil && st.Stuck.Fix == "" {
				t.Error("no fix")
			}
		})
	}
}

func TestWaitTellsWhatIsMissing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var reasons []string
	err := waitReady(ctx, &kube.Client{Kube: fake.NewClientset(statefulSet())}, Name, Options{
		Observer: Observer{Waiting: func(r string) { reasons = append(reasons, r); cancel() }},
	})
	if !errors.Is(err, context.Canceled) || len(reasons) != 1 || reasons[0] != "the pod is being created" {
		t.Errorf("err %v, reasons %q", err, reasons)
	}
	expired, stop := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer stop()
	var te *TimeoutError
	if err := waitReady(expired, &kube.Client{Kube: fake.NewClientset(statefulSet())}, Name, Options{}); !errors.As(err, &te) || !strings.Contains(te.Error(), "the pod is being created") {
		t.Errorf("got %v", err)
	}
}

// Changing one value keeps the others: what Render wrote, Current reads.
func TestCurrentReadsWhatRenderWrote(t *testing.T) {
	for name, change := range map[string]func(*Values){
		"default": func(*Values) {},
		"pi": func(v *Values) {
			v.Storage.Class, v.Storage.Size, v.Retention, v.Resources.Memory = "local-path", "4Gi", "3d", "96Mi"
			v.NodeSelector, v.PriorityClass = map[string]string{"kubernetes.io/arch": "arm64"}, "system-cluster-critical"
			v.Tolerations = []corev1.Toleration{{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
		},
		"ephemeral": func(v *Values) {
			v.Storage.Ephemeral, v.Storage.Size = true, "1Gi"
			v.Image.SetRef("example/collector:7")
		},
		"full": func(v *Values) {
			v.Namespaces = []string{"shop", "billing"}
			v.Image.SetRef("example/collector:7")
			v.Limits = Limits{"max_line_size": "1MB", "max_label_value_length": int64(1000000)}
			v.TLS.SecretName, v.Auth.SecretName = "logstack-tls", "logstack-auth"
		},
		"replicas": func(v *Values) {
			v.Replicas, v.NodeFiles, v.Events, v.Lifecycle = 3, "all", false, false
			v.Image.SetRef("example/collector:7")
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := DefaultValues()
			change(&want)
			objs, err := Render(want)
			if err != nil {
				t.Fatal(err)
			}
			var set appsv1.StatefulSet
			var limits corev1.ConfigMap
			for _, o := range objs {
				if o.GetName() == limitsName {
					if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &limits); err != nil {
						t.Fatal(err)
					}
				}
				if o.GetKind() == "StatefulSet" {
					if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &set); err != nil {
						t.Fatal(err)
					}
				}
			}
			next, err := newInstallation(want, want)
			if err != nil {
				t.Fatal(err)
			}
			rec, err := next.record()
			if err != nil {
				t.Fatal(err)
			}
			var cm corev1.ConfigMap
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(rec.Object, &cm); err != nil {
				t.Fatal(err)
			}
			got, found, err := Current(context.Background(), &kube.Client{Kube: fake.NewClientset(&set, &cm, &limits)}, Name)
			if err != nil || !found {
				t.Fatal(found, err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			// GitOps leaves no record: the StatefulSet tells what it can.
			want.Image.SetRef(want.Image.Ref())
			if got, found, err = Current(context.Background(), &kube.Client{Kube: fake.NewClientset(&set, &limits)}, Name); err != nil || !found {
				t.Fatal(found, err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
	if _, found, err := Current(context.Background(), &kube.Client{Kube: fake.NewClientset(statefulSet())}, Name); found || err != nil {
		t.Errorf("somebody else's StatefulSet was taken for ours: %v", err)
	}
}

// A purge takes what is ours and nothing else.
func TestPurgeSparesOthers(t *testing.T) {
	ours := map[string]string{"app.kubernetes.io/name": Name}
	namespace := func(labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Name, Labels: labels}}
	}
	claim := func(labels map[string]string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: Name, Name: "data-logstack-0", Labels: labels}}
	}
	grafana := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Name, Name: "grafana-0"}}
	made := map[string]string{managedBy: kube.FieldManager}
	for name, tc := range map[string]struct {
		objects []runtime.Object
		kept    string
	}{
		"all ours":              {[]runtime.Object{namespace(made), claim(ours)}, ""},
		"a claim of others":     {[]runtime.Object{namespace(made), claim(nil)}, "persistentvolumeclaim/data-logstack-0 (not made by"},
		"others live there":     {[]runtime.Object{namespace(made), claim(ours), grafana}, "others live in it: pod/grafana-0"},
		"a namespace of others": {[]runtime.Object{namespace(nil), claim(ours)}, "namespace/logstack (not made by"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(tc.objects...)
			kept, err := purgeRest(context.Background(), &kube.Client{Kube: client}, Name, Observer{})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(kept, "; "); (tc.kept == "") != (got == "") || !strings.Contains(got, tc.kept) {
				t.Errorf("kept %q, want %q in it", got, tc.kept)
			}
			_, err = client.CoreV1().Namespaces().Get(context.Background(), Name, metav1.GetOptions{})
			if gone := err != nil; gone != (tc.kept == "") {
				t.Errorf("namespace gone: %v", gone)
			}
		})
	}
}

// Advice acts on the installation that it is about.
func TestCommand(t *testing.T) {
	if got := Command("logstack", "status"); got != "kubectl logstack status" {
		t.Error(got)
	}
	if got := Command("other", "uninstall --purge"); got != "kubectl logstack uninstall --purge -n other" {
		t.Error(got)
	}
}

// What is no longer rendered is found in the record of the run before.
func TestDropped(t *testing.T) {
	v := DefaultValues()
	next, err := newInstallation(v, v)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := next.record()
	if err != nil {
		t.Fatal(err)
	}
	var cm corev1.ConfigMap
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(rec.Object, &cm); err != nil {
		t.Fatal(err)
	}
	cm.Data[recordObjects] += "not an object\nv1 Namespace - other\n"
	v.NetworkPolicy = false
	without, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range dropped(&cm, without) {
		got = append(got, objectID(o))
	}
	if d := cmp.Diff([]string{"networking.k8s.io/v1 NetworkPolicy logstack logstack"}, got); d != "" {
		t.Error(d)
	}
}
