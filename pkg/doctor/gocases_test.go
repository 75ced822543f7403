package doctor

import (
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// parts are the objects of our own healthy stack: goCases break one.
type parts struct {
	set   *appsv1.StatefulSet
	pod   *corev1.Pod
	svc   *corev1.Service
	slice *discoveryv1.EndpointSlice
	event *corev1.Event
	query *snapshot.QueryResult
	line  *snapshot.ArrivalResult
	may   map[snapshot.Right]bool // of the collector
	own   map[snapshot.Right]bool
	miss  map[snapshot.Input]*snapshot.Missing
	logs  []*snapshot.LogExcerpt
}

func healthyParts() *parts {
	one, ready := int32(1), true
	labels := map[string]string{"app.kubernetes.io/name": "logstack"}
	p := &parts{
		set: &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logstack"},
			Spec: appsv1.StatefulSetSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "collector", Image: "example/logstack/collector:1"}}}}},
			Status: appsv1.StatefulSetStatus{ObservedGeneration: 1, Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1},
		},
		pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logstack-0", Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "collector", Image: "example/logstack/collector:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 3100}}}}},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "collector", Image: "example/logstack/collector:1", Ready: true}}},
		},
		svc: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logstack", Labels: labels},
			Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 3100, TargetPort: intstr.FromString("http")}}},
		},
		slice: &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logstack-x", Labels: map[string]string{discoveryv1.LabelServiceName: "logstack"}},
			Endpoints:  []discoveryv1.Endpoint{{Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		},
		query: &snapshot.QueryResult{Via: "service proxy"}, line: &snapshot.ArrivalResult{After: 300 * time.Millisecond},
		may: map[snapshot.Right]bool{}, own: map[snapshot.Right]bool{}, miss: map[snapshot.Input]*snapshot.Missing{},
	}
	for _, r := range snapshot.CollectorNeeds {
		p.may[r] = true
	}
	for _, r := range snapshot.OwnNeeds("logstack", "logstack") {
		p.own[r] = true
	}
	return p
}

func (p *parts) snapshot(testing.TB) *snapshot.Snapshot {
	s := snapshot.New(taken, "logstack", "logstack")
	s.Context = "home"
	s.SetVersion(&apiversion.Info{Major: "1", Minor: "36"})
	if p.set != nil {
		s.Add(snapshot.StatefulSets, p.set)
	}
	if p.pod != nil {
		s.Add(snapshot.Pods, p.pod)
	}
	if p.svc != nil {
		s.Add(snapshot.Services, p.svc)
	}
	if p.slice != nil {
		s.Add(snapshot.EndpointSlices, p.slice)
	}
	if p.event != nil {
		s.Add(snapshot.Events, p.event)
	}
	s.SetProbes(p.query, p.line)
	s.SetLogs(p.logs)
	s.SetRights(p.own, p.may)
	s.Finish()
	for in, m := range p.miss {
		s.SetMissing(in, m)
	}
	return s
}

// goCases are the cases of our own stack and of inputs that no file can hold.
func goCases() []testCase {
	var out []testCase
	bad := func(code string, status Status, words, name string, breakIt func(*parts)) {
		out = append(out, testCase{name: name, code: code, expect: []expectation{{code, status, words}}, build: func(t testing.TB) *snapshot.Snapshot {
			p := healthyParts()
			breakIt(p)
			return p.snapshot(t)
		}})
	}
	bad("LS0201", Info, "you may not list nodes", "not an admin", func(p *parts) {
		p.miss[snapshot.Nodes] = &snapshot.Missing{Right: &snapshot.Right{Verb: "list", Resource: "nodes"}}
	})
	bad("LS0306", Error, "in the policy", "refused by Kyverno", refused(`admission webhook "validate.kyverno.svc-fail" denied the request: require-labels`))
	for _, code := range []string{"LS0201", "LS0306", "LS0101", "LS0104", "LS0203", "LS0205", "LS0302", "LS0401", "LS0402", "LS0403", "LS0404", "LS0410", "LS0501", "LS0504", "LS0505", "LS1008", "LS1001"} {
		out = append(out, testCase{name: "healthy", code: code, build: func(t testing.TB) *snapshot.Snapshot { return healthyParts().snapshot(t) }})
	}
	bad("LS0101", Error, "is it running?", "unreachable", func(p *parts) {
		p.miss[snapshot.Server] = &snapshot.Missing{Err: errors.New("cannot reach the API server\n  is it running?")}
	})
	bad("LS0104", Error, "no workload", "not installed", func(p *parts) { p.set = nil })
	bad("LS0203", Error, "get pods/log", "no right to pods/log", func(p *parts) { p.may[snapshot.CollectorNeeds[3]] = false })
	bad("LS0205", Error, "services/proxy", "you may not query", func(p *parts) { clear(p.own) })
	bad("LS0302", Error, "violates PodSecurity", "refused by PodSecurity", refused(`pods "logstack-0" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes`))
	bad("LS0302", Error, "exceeded quota", "refused by quota", refused(`pods "logstack-0" is forbidden: exceeded quota: mem`))
	bad("LS0401", Error, "data directory in use", "crash loop", waiting("CrashLoopBackOff", &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "data directory in use"}))
	bad("LS0402", Error, "OOMKilled", "out of memory", waiting("CrashLoopBackOff", &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}))
	bad("LS0402", Warning, "killed for memory", "was killed once", killedOnce)
	bad("LS0403", Error, "example/logstack/collector:1", "image cannot be pulled", waiting("ImagePullBackOff", nil))
	bad("LS0404", Error, "Insufficient memory", "unschedulable", unscheduled("0/1 nodes are available: 1 Insufficient memory."))
	bad("LS0404", Error, "the autoscaler is adding a node", "a node is made", func(p *parts) {
		unscheduled("0/1 nodes are available: 1 Insufficient memory.")(p)
		p.event = &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "x"}, Reason: "TriggeredScaleUp", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "logstack", Name: "logstack-0"}}
	})
	bad("LS0404", Error, "StorageClass", "claim unbound", unscheduled("pod has unbound immediate PersistentVolumeClaims"))
	bad("LS0410", Error, "scaled to 0", "scaled to zero", func(p *parts) { *p.set.Spec.Replicas = 0 })
	bad("LS0410", Error, "0 of 1 replicas", "not ready", func(p *parts) { p.set.Status.ReadyReplicas = 0 })
	bad("LS0410", Warning, "newest revision", "old revision", func(p *parts) { p.set.Status.UpdatedReplicas = 0 })
	bad("LS0501", Error, "logstack.logstack.svc does not resolve", "no Service", func(p *parts) { p.svc = nil })
	bad("LS0504", Error, "1 endpoint, 0 ready", "no ready endpoint", func(p *parts) { *p.slice.Endpoints[0].Conditions.Ready = false })
	bad("LS0504", Error, "matches no pod", "selector matches no pod", func(p *parts) { p.slice = nil; p.svc.Spec.Selector = map[string]string{"app": "x"} })
	bad("LS0505", Error, `"3200" is no container port`, "wrong port number", func(p *parts) { p.svc.Spec.Ports[0].TargetPort = intstr.FromInt32(3200) })
	bad("LS0505", Error, `"web" is no container port`, "wrong targetPort", func(p *parts) { p.svc.Spec.Ports[0].TargetPort = intstr.FromString("web") })
	bad("LS1008", Error, "timeout", "no answer", func(p *parts) { p.query.Err = errors.New("timeout") })
	bad("LS1008", Info, "port-forward", "by port-forward", func(p *parts) { p.query.Note = "using a port-forward" })
	bad("LS1001", Error, "30s", "the line never arrived", func(p *parts) { p.line.Err = errors.New("not collected within 30s") })
	bad("LS1001", Warning, "20s", "the line was slow", func(p *parts) { p.line.After = 20 * time.Second })
	bad("LS1001", Warning, "it took 20.3s: written 2ms → read 20.2s → stored 31ms → queryable 110ms", "the line was slow on its way", func(p *parts) {
		p.line = &snapshot.ArrivalResult{After: 20300 * time.Millisecond, Hops: []snapshot.ArrivalHop{{Name: snapshot.HopWritten, Took: 2 * time.Millisecond},
			{Name: snapshot.HopRead, Took: 20160 * time.Millisecond}, {Name: snapshot.HopStored, Took: 31 * time.Millisecond}, {Name: snapshot.HopQueryable, Took: 107 * time.Millisecond}}}
	})
	bad("LS1001", Error, "the last hop that saw it: read: written 2ms → read 180ms", "the line was lost in the store", func(p *parts) {
		p.line = &snapshot.ArrivalResult{Err: errors.New("not found within 30s"), Hops: []snapshot.ArrivalHop{{Name: snapshot.HopWritten, Took: 2 * time.Millisecond}, {Name: snapshot.HopRead, Took: 180 * time.Millisecond}}}
	})
	bad("LS0401", Error, "data directory in use", "the last words are in the log", func(p *parts) {
		waiting("CrashLoopBackOff", &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"})(p)
		p.logs = []*snapshot.LogExcerpt{{Purpose: snapshot.CrashLog, Pod: p.pod, Container: "collector", Lines: []string{"starting", "data directory in use"}}}
	})
	return out
}

func refused(message string) func(*parts) {
	return func(p *parts) {
		p.pod, p.set.Status = nil, appsv1.StatefulSetStatus{}
		p.event = &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "x"}, Reason: "FailedCreate", Message: message,
			InvolvedObject: corev1.ObjectReference{Kind: "StatefulSet", Name: "logstack"}, LastTimestamp: metav1.NewTime(taken.Add(-time.Minute))}
	}
}

func waiting(reason string, last *corev1.ContainerStateTerminated) func(*parts) {
	return func(p *parts) {
		c := &p.pod.Status.ContainerStatuses[0]
		c.State.Waiting, c.LastTerminationState.Terminated = &corev1.ContainerStateWaiting{Reason: reason}, last
	}
}

func killedOnce(p *parts) {
	p.pod.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled", FinishedAt: metav1.NewTime(taken.Add(-time.Hour))}
}

func unscheduled(message string) func(*parts) {
	return func(p *parts) {
		p.pod.Status = corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: message}}}
	}
}
