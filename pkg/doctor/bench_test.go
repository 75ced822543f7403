package doctor

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// large is a cluster of n pods with a Service per ten of them, and our stack.
func large(tb testing.TB, n int) *snapshot.Snapshot {
	s := healthyParts().snapshot(tb)
	for i := range n {
		ns, name := fmt.Sprintf("ns-%d", i%50), fmt.Sprintf("app-%d-7d4b9c5f8d-x2x8p", i)
		labels := map[string]string{"app.kubernetes.io/name": fmt.Sprintf("app-%d", i/10), "pod-template-hash": "7d4b9c5f8d"}
		s.Add(snapshot.Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(fmt.Sprint(i)), Labels: labels},
			Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.example.com/shop/app:1.2.3"}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Ready: true}}}})
		if i%10 == 0 {
			s.Add(snapshot.Services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("app-%d", i/10), Labels: labels}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}}})
			s.Add(snapshot.EndpointSlices, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("app-%d-x", i/10), Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("app-%d", i/10)}}})
		}
	}
	for i := range 20 {
		s.Add(snapshot.ConfigMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: fmt.Sprintf("ds-%d", i), Labels: map[string]string{snapshot.GrafanaLabel: "1"}},
			Data: map[string]string{fmt.Sprintf("%d.yaml", i): fmt.Sprintf("datasources: [{name: Loki %d, type: loki, uid: l%d, url: 'http://loki-%d.monitoring:3100'}]", i, i, i)}})
	}
	return s
}

// BenchmarkRun5000Pods is the time and memory of all checks on a large cluster,
// without the loading.
func BenchmarkRun5000Pods(b *testing.B) {
	s := large(b, 5000)
	checks := Checks()
	b.ReportAllocs()
	for b.Loop() {
		if r := Run(s, checks, RunOptions{FailOn: Error}); r.Counts[OK] == 0 {
			b.Fatal(r.Summary)
		}
	}
}
