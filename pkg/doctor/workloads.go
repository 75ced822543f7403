package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// Category 04: workloads.
func workloadChecks() []Check {
	return append(podChecks(), stackChecks()...)
}

// podChecks look at the state of pods and rollouts.
func podChecks() []Check {
	return []Check{
		{
			Code: "LS0404", Severity: Error, Title: "every pod of the log stack has a node",
			Explain: "An unscheduled pod waits for a node with room, or for a volume. The scheduler's own words are quoted. The Loki chart's caches ask for 9830Mi and 1229Mi of memory by default.",
			Fix:     "kubectl describe pod -n NAMESPACE POD; make room, lower requests, or switch the component off",
			Needs:   []snapshot.Input{snapshot.Pods}, Uses: []snapshot.Input{snapshot.Events}, Applies: hasStackPods, Transient: true,
			Run: checkScheduled,
		},
		{
			Code: "LS0403", Severity: Error, Title: "every image of the log stack can be pulled",
			Explain: "A container whose image cannot be pulled never starts. A registry that appears twice in the image comes from loki charts from 14.0.0 on, which put the registry before image.repository always.",
			Fix:     "name an image that the nodes can pull; charts: split it into image.registry and image.repository",
			Needs:   []snapshot.Input{snapshot.Pods}, Applies: hasStackPods, Transient: true,
			Run: checkImages,
		},
		{
			Code: "LS0402", Severity: Error, Title: "no container of the log stack is killed for memory",
			Explain: "A container that reaches its memory limit is killed (OOMKilled) and starts again; lines that it had not stored are read again or lost.",
			Fix:     "raise the memory limit, or lower what is ingested or queried at once",
			Needs:   []snapshot.Input{snapshot.Pods}, Applies: hasStackPods,
			Run: checkMemory,
		},
		{
			Code: "LS0401", Severity: Error, Title: "the containers of the log stack run",
			Explain: "A container that exits again and again is named with its exit code and its last words: those of its status, else the last line of its previous run's log.",
			Fix:     "kubectl logs -n NAMESPACE POD -c CONTAINER --previous",
			Needs:   []snapshot.Input{snapshot.Pods}, Uses: []snapshot.Input{snapshot.Logs}, Applies: hasStackPods,
			Run: checkContainers,
		},
		{
			Code: "LS0410", Severity: Error, Title: "the rollouts of the log stack are finished",
			Explain: "All replicas are ready and of the newest revision; nothing is scaled to zero.",
			Fix:     "kubectl rollout status KIND -n NAMESPACE NAME; kubectl describe shows what stands in the way",
			Needs:   []snapshot.Input{snapshot.StatefulSets, snapshot.Stacks}, Applies: hasLiveStacks, Transient: true,
			Run: checkRollout,
		},
	}
}

// stackPods are the pods of log products.
func stackPods(s *snapshot.Snapshot) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range s.Pods() {
		if snapshot.ProductOf(p.Labels, &p.Spec) != "" {
			out = append(out, p)
		}
	}
	return out
}

func hasStackPods(s *snapshot.Snapshot) bool { return len(stackPods(s)) > 0 }

// hasLiveStacks: workloads of a cluster have a status, manifests do not.
func hasLiveStacks(s *snapshot.Snapshot) bool {
	for _, c := range s.Stacks() {
		if set, ok := c.Workload.(*appsv1.StatefulSet); ok && hasStatus(set) {
			return true
		}
	}
	return false
}

func hasStatus(set *appsv1.StatefulSet) bool {
	return set.Status.ObservedGeneration > 0 || set.Status.Replicas > 0
}

// isOurs says whether a pod belongs to our own stack.
func isOurs(s *snapshot.Snapshot, p *corev1.Pod) bool {
	return p.Namespace == s.Namespace && p.Labels["app.kubernetes.io/name"] == s.Name
}

// downstream are the symptoms of a pod that does not run.
func downstream(p *corev1.Pod) []string {
	return []string{"LS0410@*/" + p.Namespace + "/*", "LS0504@*/" + p.Namespace + "/*", "LS1008"}
}

func statuses(p *corev1.Pod) []corev1.ContainerStatus {
	return append(append([]corev1.ContainerStatus(nil), p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...)
}

func checkContainers(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, p := range stackPods(s) {
		for _, c := range statuses(p) {
			if w := c.State.Waiting; w == nil || w.Reason != "CrashLoopBackOff" {
				continue
			}
			last := c.LastTerminationState.Terminated
			if last != nil && last.Reason == "OOMKilled" {
				continue // LS0402 says it
			}
			f := Finding{Status: Error, Ref: s.Ref(p), Detail: c.Name + " exits again and again", Explains: downstream(p),
				Fix: "kubectl logs -n " + p.Namespace + " " + p.Name + " -c " + c.Name + " --previous"}
			if last != nil {
				words := orElse(last.Message, crashWords(s, p, c.Name))
				f.Detail = strings.TrimSpace(fmt.Sprintf("%s exits with code %d (%s) %s", c.Name, last.ExitCode, last.Reason, lastLine(words)))
				if fix := lastWords(words); fix != "" {
					f.Fix = fix
				}
			}
			out = append(out, f)
		}
	}
	return out
}

// crashWords are the last lines of a container's previous run, where they could
// be read: Loki leaves no message in its status.
func crashWords(s *snapshot.Snapshot, p *corev1.Pod, container string) string {
	for _, e := range s.Logs(snapshot.CrashLog) {
		if e.Pod.Namespace == p.Namespace && e.Pod.Name == p.Name && e.Container == container {
			return strings.Join(e.Lines, "\n")
		}
	}
	return ""
}

// lastWords knows the remedy for common last lines.
func lastWords(message string) string {
	for _, k := range []struct{ words, fix string }{
		{"host not found in resolver", "the gateway's nginx asks a DNS Service that does not exist: set global.dnsService (and global.dnsNamespace) to the cluster's own (kubectl get svc -A -l k8s-app=kube-dns)"},
		{"not found in type", "the configuration has a field that this version of Loki does not know: remove it (the message names it)"},
		{"permission denied", "the volume is not writable for the container's user: set podSecurityContext.fsGroup (Loki: 10001) or fix the volume's owner"},
		{"no space left on device", "the volume is full: enlarge it or shorten the retention"},
	} {
		if strings.Contains(message, k.words) {
			return k.fix
		}
	}
	return ""
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func checkMemory(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, p := range stackPods(s) {
		for _, c := range statuses(p) {
			t := c.LastTerminationState.Terminated
			if t == nil || t.Reason != "OOMKilled" {
				continue
			}
			looping := c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff"
			if !looping && s.Taken.Sub(t.FinishedAt.Time) > 24*time.Hour {
				continue
			}
			f := Finding{Status: Warning, Ref: s.Ref(p), Fix: "raise the memory limit of " + c.Name + limitOf(p, c.Name) + " or lower what is ingested or queried at once"}
			if isOurs(s, p) {
				f.Fix = "raise the memory limit: " + install.Command(s.Namespace, "install --memory 512Mi")
			}
			if looping {
				f.Status, f.Explains = Error, downstream(p)
				f.Detail = fmt.Sprintf("%s is killed for memory (OOMKilled) again and again, %s", c.Name, plural(int(c.RestartCount), "restart"))
			} else {
				f.Detail = fmt.Sprintf("%s was killed for memory at %s (%s)", c.Name, t.FinishedAt.UTC().Format(time.RFC3339), plural(int(c.RestartCount), "restart"))
			}
			out = append(out, f)
		}
	}
	return out
}

func limitOf(p *corev1.Pod, container string) string {
	for _, c := range p.Spec.Containers {
		if c.Name == container {
			if l := c.Resources.Limits.Memory(); l != nil && !l.IsZero() {
				return " (now " + l.String() + ")"
			}
		}
	}
	return ""
}

func checkImages(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, p := range stackPods(s) {
		for _, c := range statuses(p) {
			w := c.State.Waiting
			if w == nil || !strings.Contains(w.Reason, "ImagePull") && w.Reason != "InvalidImageName" && w.Reason != "ErrImageNeverPull" {
				continue
			}
			image := imageOf(p, c)
			f := Finding{Status: Error, Ref: s.Ref(p), Detail: strings.TrimSpace(fmt.Sprintf("image %s: %s %s", image, w.Reason, w.Message)), Explains: downstream(p),
				Fix: "name an image that the nodes can pull; is the registry reachable, and does it need an imagePullSecret? kubectl describe pod -n " + p.Namespace + " " + p.Name}
			switch {
			case twoRegistries(image):
				f.Detail += ": two registries in one name"
				f.Fix = "loki charts from 14.0.0 on always put image.registry first: split the value into loki.image.registry and loki.image.repository"
			case isOurs(s, p):
				f.Fix = "name an image that the nodes can pull: " + install.Command(s.Namespace, "install --image REGISTRY/IMAGE:TAG")
			}
			out = append(out, f)
		}
	}
	return out
}

func imageOf(p *corev1.Pod, c corev1.ContainerStatus) string {
	if c.Image != "" {
		return c.Image
	}
	for _, ct := range append(append([]corev1.Container(nil), p.Spec.InitContainers...), p.Spec.Containers...) {
		if ct.Name == c.Name {
			return ct.Image
		}
	}
	return ""
}

// twoRegistries sees docker.io/private.registry.com/grafana/loki.
func twoRegistries(image string) bool {
	parts := strings.Split(image, "/")
	return len(parts) > 2 && strings.ContainsAny(parts[0], ".:") && strings.ContainsAny(parts[1], ".:")
}

func checkScheduled(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, p := range stackPods(s) {
		for _, c := range p.Status.Conditions {
			if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse {
				continue
			}
			f := Finding{Status: Error, Ref: s.Ref(p), Detail: c.Message, Fix: "kubectl describe pod -n " + p.Namespace + " " + p.Name, Explains: downstream(p)}
			component := p.Labels["app.kubernetes.io/component"]
			switch {
			case strings.HasPrefix(component, "memcached-"):
				key := map[string]string{"memcached-chunks-cache": "chunksCache", "memcached-results-cache": "resultsCache"}[component]
				f.Detail += " (it asks for " + requested(p) + " of memory)"
				f.Fix = fmt.Sprintf("in the values of the loki chart: %s.enabled: false (or %s.allocatedMemory: 512)", key, key)
			case strings.Contains(c.Message, "PersistentVolumeClaim") && isOurs(s, p):
				f.Fix = "name a StorageClass that exists (kubectl get storageclass): " + install.Command(s.Namespace, "uninstall --purge") + "; " + install.Command(s.Namespace, "install --storage-class CLASS") + ", or --ephemeral"
			}
			if slices.ContainsFunc(s.Events(), func(e *corev1.Event) bool {
				return e.Reason == "TriggeredScaleUp" && e.InvolvedObject.Namespace == p.Namespace && e.InvolvedObject.Name == p.Name
			}) {
				f.Detail += scalingUp
			}
			out = append(out, f)
		}
	}
	return out
}

// scalingUp is what a cluster autoscaler's event (TriggeredScaleUp) adds to the
// scheduler's words: --wait waits for the node.
const scalingUp = "; the autoscaler is adding a node"

func requested(p *corev1.Pod) string {
	var most string
	for _, c := range p.Spec.Containers {
		if m := c.Resources.Requests.Memory(); m != nil && !m.IsZero() && most == "" {
			most = m.String()
		}
	}
	return most
}

func checkRollout(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, c := range s.Stacks() {
		set, ok := c.Workload.(*appsv1.StatefulSet)
		if !ok || c.Predicted || !hasStatus(set) {
			continue
		}
		want := int32(1)
		if set.Spec.Replicas != nil {
			want = *set.Spec.Replicas
		}
		f := Finding{Ref: s.Ref(set)}
		name := fmt.Sprintf("statefulset -n %s %s", set.Namespace, set.Name)
		own := set.Namespace == s.Namespace && set.Name == s.Name
		switch {
		case want == 0:
			if !own {
				continue // a part that is switched off
			}
			f.Status, f.Detail, f.Fix = Error, "it is scaled to 0: nothing collects", "kubectl scale "+name+" --replicas=1"
			f.Explains = []string{"LS0504@*/" + set.Namespace + "/*", "LS1008"}
		case set.Status.ReadyReplicas < want:
			f.Status, f.Detail, f.Fix = Error, fmt.Sprintf("%d of %d replicas are ready", set.Status.ReadyReplicas, want), "kubectl describe "+name
			if own {
				f.Fix = install.Command(s.Namespace, "status")
			}
			f.Explains = []string{"LS0504@*/" + set.Namespace + "/*", "LS1008"}
		case set.Status.UpdatedReplicas < want && set.Status.CurrentRevision != set.Status.UpdateRevision || set.Status.UpdatedReplicas < want && own:
			f.Status, f.Detail, f.Fix = Warning, fmt.Sprintf("%d of %d replicas run the newest revision", set.Status.UpdatedReplicas, want), "kubectl rollout status "+name
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}
