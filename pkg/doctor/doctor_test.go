package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiversion "k8s.io/apimachinery/pkg/version"
)

var taken = time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)

// healthy is a snapshot in which every check passes.
func healthy() *Snapshot {
	one, ready := int32(1), true
	s := &Snapshot{
		Taken: taken, Context: "home", Namespace: "logstack", Name: "logstack",
		Version: &apiversion.Info{Major: "1", Minor: "36"},
		StatefulSet: &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logstack"},
			Spec:       appsv1.StatefulSetSpec{Replicas: &one},
			Status:     appsv1.StatefulSetStatus{Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1},
		},
		Pods: []corev1.Pod{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logstack-0", Labels: map[string]string{"app.kubernetes.io/name": "logstack"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "collector", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 3100}}}}},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "collector", Image: "example/collector:1", Ready: true}}},
		}},
		Service: &corev1.Service{Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app.kubernetes.io/name": "logstack"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 3100, TargetPort: intstr.FromString("http")}},
		}},
		Slices:          []discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{{Conditions: discoveryv1.EndpointConditions{Ready: &ready}}}}},
		CollectorRights: map[Right]bool{}, OwnRights: map[Right]bool{},
		Query: &QueryResult{Via: "service proxy"}, Arrival: &ArrivalResult{After: 300 * time.Millisecond},
		Missing: map[Part]error{},
	}
	for _, r := range CollectorNeeds {
		s.CollectorRights[r] = true
	}
	for _, r := range ownNeeds(s.Namespace, s.Name) {
		s.OwnRights[r] = true
	}
	return s
}

func TestHealthy(t *testing.T) {
	r := Run(healthy(), Checks())
	for _, f := range r.Findings {
		if f.Status != OK {
			t.Errorf("%s: %s %s", f.Code, f.Status, f.Detail)
		}
	}
	if r.Worst() != OK || r.Summary() != "13 checks: 13 ok" {
		t.Errorf("worst %s, summary %q", r.Worst(), r.Summary())
	}
}

// Each row breaks one thing of a healthy stack and names the code that says so.
func TestFindings(t *testing.T) {
	for name, tc := range map[string]struct {
		breakIt func(*Snapshot)
		code    string
		status  Status
		detail  string
	}{
		"not installed":           {func(s *Snapshot) { s.StatefulSet = nil }, "LS0104", Error, "no StatefulSet"},
		"no right to pods/log":    {func(s *Snapshot) { s.CollectorRights[CollectorNeeds[3]] = false }, "LS0203", Error, "get pods/log"},
		"you may not query":       {func(s *Snapshot) { clear(s.OwnRights) }, "LS0205", Error, "services/proxy"},
		"refused by PodSecurity":  {refused(`pods "logstack-0" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes`), "LS0302", Error, "violates PodSecurity"},
		"refused by quota":        {refused(`pods "logstack-0" is forbidden: exceeded quota: mem`), "LS0302", Error, "exceeded quota"},
		"crash loop":              {waiting("CrashLoopBackOff", &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "data directory in use"}), "LS0401", Error, "data directory in use"},
		"out of memory":           {waiting("CrashLoopBackOff", &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}), "LS0401", Error, "OOMKilled"},
		"image cannot be pulled":  {waiting("ImagePullBackOff", nil), "LS0401", Error, "example/collector:1"},
		"was killed once":         {killedOnce, "LS0401", Warning, "killed for memory"},
		"unschedulable":           {unscheduled("0/1 nodes are available: 1 Insufficient memory."), "LS0404", Error, "Insufficient memory"},
		"claim unbound":           {unscheduled("pod has unbound immediate PersistentVolumeClaims"), "LS0404", Error, "PersistentVolumeClaims"},
		"scaled to zero":          {func(s *Snapshot) { *s.StatefulSet.Spec.Replicas = 0 }, "LS0410", Error, "scaled to 0"},
		"not ready":               {func(s *Snapshot) { s.StatefulSet.Status.ReadyReplicas = 0 }, "LS0410", Error, "0 of 1 replicas"},
		"old revision":            {func(s *Snapshot) { s.StatefulSet.Status.UpdatedReplicas = 0 }, "LS0410", Warning, "newest revision"},
		"no Service":              {func(s *Snapshot) { s.Service = nil }, "LS0501", Error, "logstack.logstack.svc does not resolve"},
		"no ready endpoint":       {func(s *Snapshot) { *s.Slices[0].Endpoints[0].Conditions.Ready = false }, "LS0504", Error, "1 endpoints, none ready"},
		"selector matches no pod": {func(s *Snapshot) { s.Slices = nil; s.Service.Spec.Selector = map[string]string{"app": "x"} }, "LS0504", Error, "matches no pod"},
		"wrong port number":       {func(s *Snapshot) { s.Service.Spec.Ports[0].TargetPort = intstr.FromInt32(3200) }, "LS0505", Error, `"3200" is no container port`},
		"wrong targetPort":        {func(s *Snapshot) { s.Service.Spec.Ports[0].TargetPort = intstr.FromString("web") }, "LS0505", Error, `"web" is no container port`},
		"no answer":               {func(s *Snapshot) { s.Query.Err = errors.New("timeout") }, "LS1008", Error, "timeout"},
		"by port-forward":         {func(s *Snapshot) { s.Query.Note = "using a port-forward" }, "LS1008", Info, "port-forward"},
		"the line never arrived":  {func(s *Snapshot) { s.Arrival.Err = errors.New("not collected within 30s") }, "LS1001", Error, "30s"},
		"the line was slow":       {func(s *Snapshot) { s.Arrival.After = 20 * time.Second }, "LS1001", Warning, "20s"},
	} {
		t.Run(name, func(t *testing.T) {
			s := healthy()
			tc.breakIt(s)
			r := Run(s, Checks())
			for _, f := range r.Findings {
				if f.Code != tc.code || f.Status != tc.status {
					continue
				}
				if !strings.Contains(f.Detail, tc.detail) {
					t.Errorf("detail %q lacks %q", f.Detail, tc.detail)
				}
				if f.Fix == "" && f.Status != Info {
					t.Error("no fix")
				}
				return
			}
			t.Errorf("no finding %s %s in %+v", tc.code, tc.status, r.Findings)
		})
	}
}

// Not being allowed to look is a skip, never a pass.
func TestSkips(t *testing.T) {
	s := healthy()
	s.Missing[PartEvents] = errors.New("events is forbidden")
	r := Run(s, Checks())
	if r.Counts[Skip] != 1 || r.Worst() != OK {
		t.Errorf("%v", r.Counts)
	}
	s = healthy()
	s.StatefulSet, s.Service, s.Pods = nil, nil, nil
	if r = Run(s, Checks()); r.Counts[Error] != 1 || r.Counts[OK] != 2 {
		t.Errorf("without a stack there is nothing to pass: %v", r.Counts)
	}
	s = healthy()
	for _, p := range []Part{PartWorkload, PartPods, PartEvents, PartService, PartEndpoints, PartCollectors, PartOwn, PartQuery, PartArrival} {
		s.Missing[p] = errNotReached
	}
	s.Missing[PartServer] = errors.New("cannot reach the API server\n  is it running?")
	r = Run(s, Checks())
	if r.Counts[OK] != 0 || r.Counts[Error] != 1 || r.Findings[0].Fix != "is it running?" {
		t.Errorf("%+v", r.Findings)
	}
}

// The registry keeps its own rules: codes are unique and permanent, everything
// is described, and causes name checks that exist.
func TestRegistry(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if seen[c.Code] {
			t.Errorf("%s twice", c.Code)
		}
		seen[c.Code] = true
		if len(c.Code) != 6 || !strings.HasPrefix(c.Code, "LS") || c.Title == "" || c.Category == "" || len(c.Explain) < 40 {
			t.Errorf("%s is not described", c.Code)
		}
	}
	for name, breakIt := range map[string]func(*Snapshot){"not installed": func(s *Snapshot) { s.StatefulSet = nil }, "refused": refused("x"), "crash": waiting("CrashLoopBackOff", nil), "unscheduled": unscheduled("x")} {
		s := healthy()
		breakIt(s)
		for _, f := range Run(s, Checks()).Findings {
			for _, e := range f.Explains {
				if !seen[e] {
					t.Errorf("%s: %s explains %s, which does not exist", name, f.Code, e)
				}
			}
		}
	}
}

func refused(message string) func(*Snapshot) {
	return func(s *Snapshot) {
		s.Pods, s.StatefulSet.Status = nil, appsv1.StatefulSetStatus{}
		s.Events = []corev1.Event{{Reason: "FailedCreate", Message: message, InvolvedObject: corev1.ObjectReference{Kind: "StatefulSet", Name: "logstack"}, LastTimestamp: metav1.NewTime(taken.Add(-time.Minute))}}
	}
}

func waiting(reason string, last *corev1.ContainerStateTerminated) func(*Snapshot) {
	return func(s *Snapshot) {
		c := &s.Pods[0].Status.ContainerStatuses[0]
		c.State.Waiting, c.LastTerminationState.Terminated = &corev1.ContainerStateWaiting{Reason: reason}, last
	}
}

func killedOnce(s *Snapshot) {
	s.Pods[0].Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled", FinishedAt: metav1.NewTime(taken.Add(-time.Hour))}
}

func unscheduled(message string) func(*Snapshot) {
	return func(s *Snapshot) {
		s.Pods[0].Status = corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: message}}}
	}
}
