package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// The categories, in the order of a report.
const (
	catCluster   = "Cluster access"
	catRBAC      = "Rights"
	catSecurity  = "Namespace and PodSecurity"
	catWorkload  = "Workload"
	catService   = "Service and DNS"
	catFlow      = "Log flow"
	recentEvents = time.Hour
)

// Checks returns the one ordered list.
func Checks() []Check {
	return []Check{
		{
			Code: "LS0101", Category: catCluster, Title: "the API server answers",
			Explain: "Everything else needs the API server of your kubeconfig context. The finding says whether the kubeconfig, the name, the network, the certificate or your credentials stand in the way.",
			Run: func(s *Snapshot) []Finding {
				if err := s.Missing[PartServer]; err != nil {
					cause, fix, _ := strings.Cut(err.Error(), "\n")
					return []Finding{{Status: Error, Object: "context/" + s.Context, Detail: cause, Fix: strings.TrimSpace(fix)}}
				}
				return nil
			},
		},
		{
			Code: "LS0104", Category: catCluster, Title: "a log stack is installed",
			Explain: "There has to be a collector: a StatefulSet named logstack in the namespace that doctor looks at (-n, default logstack).",
			Needs:   []Part{PartServer, PartWorkload},
			Run: func(s *Snapshot) []Finding {
				if s.StatefulSet == nil {
					return []Finding{{Status: Error, Object: "namespace/" + s.Namespace, Detail: "there is no StatefulSet " + s.Name,
						Fix: install.Command(s.Namespace, "install") + " (or name its namespace: kubectl logstack doctor -n NAMESPACE)", Explains: []string{"LS0501", "LS0410"}}}
				}
				return nil
			},
		},
		{
			Code: "LS0203", OfStack: true, Category: catRBAC, Title: "the collector may read pods and their logs",
			Explain: "The collector follows pods through the API. Its ServiceAccount needs get, list and watch on pods and get on pods/log in the whole cluster; nodes/proxy is never needed.",
			Needs:   []Part{PartServer, PartCollectors},
			Run:     checkCollectorRights,
		},
		{
			Code: "LS0205", Category: catRBAC, Title: "you may query",
			Explain: "kubectl logstack reaches the collector through the API server's service proxy (get services/proxy) or by a port-forward (create pods/portforward). One of them is enough.",
			Needs:   []Part{PartServer, PartOwn},
			Run:     checkOwnRights,
		},
		{
			Code: "LS0302", OfStack: true, Category: catSecurity, Title: "no pod is refused by admission",
			Explain: "A pod that admission refuses does not exist: kubectl get pods shows nothing, only an event of its controller says so. PodSecurity, quotas and admission webhooks refuse pods.",
			Needs:   []Part{PartServer, PartWorkload, PartEvents},
			Run:     checkRefused,
		},
		{
			Code: "LS0401", OfStack: true, Category: catWorkload, Title: "the collector's containers run",
			Explain: "A container that exits again and again, or that never starts, is named with its last words.",
			Needs:   []Part{PartServer, PartPods},
			Run:     checkContainers,
		},
		{
			Code: "LS0404", OfStack: true, Category: catWorkload, Title: "the collector's pod has a node",
			Explain: "An unscheduled pod waits for a node with room, or for a volume. The scheduler's own words are quoted.",
			Needs:   []Part{PartServer, PartPods},
			Run:     checkScheduled,
		},
		{
			Code: "LS0410", OfStack: true, Category: catWorkload, Title: "the rollout is finished",
			Explain: "All replicas are ready and of the newest revision.",
			Needs:   []Part{PartServer, PartWorkload},
			Run:     checkRollout,
		},
		{
			Code: "LS0501", OfStack: true, Category: catService, Title: "the Service exists",
			Explain: "Grafana, log shippers and this plugin find the collector by its Service: http://logstack.NAMESPACE.svc:3100 from any namespace.",
			Needs:   []Part{PartServer, PartService},
			Run: func(s *Snapshot) []Finding {
				if s.Service == nil && s.StatefulSet != nil {
					return []Finding{{Status: Error, Object: "service/" + s.Namespace + "/" + s.Name, Detail: "the collector is there and its Service is not: the name " + s.dnsName() + " does not resolve",
						Fix: install.Command(s.Namespace, "install") + " (puts back what is missing)", Explains: []string{"LS1008"}}}
				}
				return nil
			},
		},
		{
			Code: "LS0504", OfStack: true, Category: catService, Title: "the Service has a ready endpoint",
			Explain: "A Service without ready endpoints resolves and then refuses connections: its selector matches no pod, or no pod is ready.",
			Needs:   []Part{PartServer, PartService, PartEndpoints, PartPods},
			Run:     checkEndpoints,
		},
		{
			Code: "LS0505", OfStack: true, Category: catService, Title: "the Service's port leads to the container's port",
			Explain: "A named targetPort has to be the name of a container port; otherwise the endpoint has no port.",
			Needs:   []Part{PartServer, PartService, PartPods},
			Run:     checkTargetPort,
		},
		{
			Code: "LS1008", OfStack: true, Category: catFlow, Title: "the collector answers queries",
			Explain: "The way that kubectl logstack query takes: the API server's service proxy, else a port-forward, then /ready of the collector.",
			Needs:   []Part{PartServer, PartQuery},
			Run: func(s *Snapshot) []Finding {
				if err := s.Query.Err; err != nil {
					return []Finding{{Status: Error, Object: "service/" + s.Namespace + "/" + s.Name, Detail: err.Error(), Fix: install.Command(s.Namespace, "status")}}
				}
				if s.Query.Note != "" {
					return []Finding{{Status: Info, Detail: s.Query.Note}}
				}
				return nil
			},
		},
		{
			Code: "LS1001", OfStack: true, Category: catFlow, Title: "a line written now arrives",
			Explain: "The collector is asked to write a line with a number of our own to its log. The line goes the way of every line: container, kubelet, API server, collector, store, query. The time it took is measured.",
			Needs:   []Part{PartServer, PartArrival},
			Run:     checkArrival,
		},
	}
}

func (s *Snapshot) dnsName() string { return s.Name + "." + s.Namespace + ".svc" }

func checkCollectorRights(s *Snapshot) []Finding {
	var missing []string
	for _, r := range CollectorNeeds {
		if !s.CollectorRights[r] {
			missing = append(missing, r.String())
		}
	}
	if len(missing) == 0 || s.StatefulSet == nil {
		return nil
	}
	return []Finding{{
		Status: Error, Object: "serviceaccount/" + s.Namespace + "/" + s.Name, Detail: "it may not " + strings.Join(missing, ", "),
		Fix: install.Command(s.Namespace, "install") + " (puts the ClusterRole and its binding back)", Explains: []string{"LS1001"},
	}}
}

func checkOwnRights(s *Snapshot) []Finding {
	for _, ok := range s.OwnRights {
		if ok {
			return nil
		}
	}
	return []Finding{{
		Status: Error, Object: "you", Detail: "neither get services/proxy nor create pods/portforward in namespace " + s.Namespace,
		Fix: fmt.Sprintf("kubectl create rolebinding logstack-query-USER -n %s --role=logstack-query --user=USER", s.Namespace), Explains: []string{"LS1008"},
	}}
}

func checkRefused(s *Snapshot) []Finding {
	if s.StatefulSet == nil || s.StatefulSet.Status.Replicas > 0 {
		return nil
	}
	for i := len(s.Events) - 1; i >= 0; i-- {
		e := s.Events[i]
		if e.Reason != "FailedCreate" || e.InvolvedObject.Name != s.Name || s.Taken.Sub(e.LastTimestamp.Time) > recentEvents {
			continue
		}
		f := Finding{Status: Error, Object: "statefulset/" + s.Namespace + "/" + s.Name, Detail: e.Message, Explains: []string{"LS0410", "LS0504", "LS1008"}}
		switch {
		case strings.Contains(e.Message, "violates PodSecurity"):
			f.Fix = "the collector passes `restricted` as it is shipped: undo the change to its pod template: " + install.Command(s.Namespace, "install --force-conflicts")
		case strings.Contains(e.Message, "exceeded quota"):
			f.Fix = "raise the ResourceQuota of namespace " + s.Namespace + " or lower --memory"
		default:
			f.Fix = "kubectl describe statefulset -n " + s.Namespace + " " + s.Name
		}
		return []Finding{f}
	}
	return nil
}

func checkContainers(s *Snapshot) []Finding {
	var out []Finding
	for _, p := range s.Pods {
		for _, c := range p.Status.ContainerStatuses {
			object := "pod/" + p.Namespace + "/" + p.Name
			last := c.LastTerminationState.Terminated
			switch w := c.State.Waiting; {
			case w != nil && w.Reason == "CrashLoopBackOff":
				detail := c.Name + " exits again and again"
				fix := "kubectl logs -n " + p.Namespace + " " + p.Name + " --previous"
				if last != nil {
					detail = fmt.Sprintf("%s exits with code %d (%s) %s", c.Name, last.ExitCode, last.Reason, last.Message)
					if last.Reason == "OOMKilled" {
						fix = "raise the memory limit: " + install.Command(s.Namespace, "install --memory 512Mi")
					}
				}
				out = append(out, Finding{Status: Error, Object: object, Detail: detail, Fix: fix, Explains: []string{"LS0410", "LS0504", "LS1008"}})
			case w != nil && (strings.Contains(w.Reason, "ImagePull") || w.Reason == "InvalidImageName"):
				out = append(out, Finding{Status: Error, Object: object, Detail: fmt.Sprintf("image %s: %s %s", c.Image, w.Reason, w.Message),
					Fix: "name an image that the nodes can pull: " + install.Command(s.Namespace, "install --image REGISTRY/IMAGE:TAG"), Explains: []string{"LS0410", "LS0504", "LS1008"}})
			case last != nil && last.Reason == "OOMKilled" && s.Taken.Sub(last.FinishedAt.Time) < 24*time.Hour:
				out = append(out, Finding{Status: Warning, Object: object, Detail: fmt.Sprintf("%s was killed for memory at %s (%d restarts)", c.Name, last.FinishedAt.UTC().Format(time.RFC3339), c.RestartCount),
					Fix: "raise the memory limit: " + install.Command(s.Namespace, "install --memory 512Mi")})
			}
		}
	}
	return out
}

func checkScheduled(s *Snapshot) []Finding {
	var out []Finding
	for _, p := range s.Pods {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				fix := "kubectl describe pod -n " + p.Namespace + " " + p.Name
				if strings.Contains(c.Message, "PersistentVolumeClaim") {
					fix = "name a StorageClass that exists (kubectl get storageclass): " + install.Command(s.Namespace, "uninstall --purge") + "; " + install.Command(s.Namespace, "install --storage-class CLASS") + ", or --ephemeral"
				}
				out = append(out, Finding{Status: Error, Object: "pod/" + p.Namespace + "/" + p.Name, Detail: c.Message, Fix: fix, Explains: []string{"LS0410", "LS0504", "LS1008"}})
			}
		}
	}
	return out
}

func checkRollout(s *Snapshot) []Finding {
	set := s.StatefulSet
	if set == nil {
		return nil
	}
	want := int32(1)
	if set.Spec.Replicas != nil {
		want = *set.Spec.Replicas
	}
	object := "statefulset/" + s.Namespace + "/" + s.Name
	switch {
	case want == 0:
		return []Finding{{Status: Error, Object: object, Detail: "it is scaled to 0: nothing collects", Fix: fmt.Sprintf("kubectl scale statefulset -n %s %s --replicas=1", s.Namespace, s.Name), Explains: []string{"LS0504", "LS1008"}}}
	case set.Status.ReadyReplicas < want:
		return []Finding{{Status: Error, Object: object, Detail: fmt.Sprintf("%d of %d replicas are ready", set.Status.ReadyReplicas, want), Fix: install.Command(s.Namespace, "status"), Explains: []string{"LS0504", "LS1008"}}}
	case set.Status.UpdatedReplicas < want:
		return []Finding{{Status: Warning, Object: object, Detail: fmt.Sprintf("%d of %d replicas run the newest revision", set.Status.UpdatedReplicas, want), Fix: fmt.Sprintf("kubectl rollout status statefulset -n %s %s", s.Namespace, s.Name)}}
	}
	return nil
}

func checkEndpoints(s *Snapshot) []Finding {
	if s.Service == nil {
		return nil
	}
	total, ready := 0, 0
	for _, sl := range s.Slices {
		for _, e := range sl.Endpoints {
			total++
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready++
			}
		}
	}
	if ready > 0 {
		return nil
	}
	f := Finding{Status: Error, Object: "service/" + s.Namespace + "/" + s.Name, Explains: []string{"LS1008"}}
	matching := 0
	for _, p := range s.Pods {
		if selects(s.Service.Spec.Selector, p.Labels) {
			matching++
		}
	}
	switch {
	case total > 0 || matching > 0:
		f.Detail = fmt.Sprintf("%d endpoints, none ready", max(total, matching))
		f.Fix = install.Command(s.Namespace, "status")
	default:
		f.Detail = fmt.Sprintf("its selector %v matches no pod", s.Service.Spec.Selector)
		f.Fix = install.Command(s.Namespace, "install --force-conflicts") + " (puts the selector back)"
	}
	return []Finding{f}
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

func checkTargetPort(s *Snapshot) []Finding {
	if s.Service == nil || len(s.Pods) == 0 {
		return nil
	}
	var names, numbers []string
	for _, c := range s.Pods[0].Spec.Containers {
		for _, p := range c.Ports {
			names = append(names, p.Name)
			numbers = append(numbers, strconv.Itoa(int(p.ContainerPort)))
		}
	}
	var out []Finding
	for _, sp := range s.Service.Spec.Ports {
		target, have := sp.TargetPort.String(), names
		if sp.TargetPort.Type == intstr.Int {
			if have = numbers; sp.TargetPort.IntVal == 0 {
				target = strconv.Itoa(int(sp.Port))
			}
		}
		if !slices.Contains(have, target) {
			out = append(out, Finding{Status: Error, Object: "service/" + s.Namespace + "/" + s.Name,
				Detail: fmt.Sprintf("targetPort %q is no container port of pod %s (it has: %s)", target, s.Pods[0].Name, strings.Join(append(names, numbers...), ", ")),
				Fix:    install.Command(s.Namespace, "install --force-conflicts") + " (puts the port back)", Explains: []string{"LS0504", "LS1008"}})
		}
	}
	return out
}

// slowArrival is where a delay deserves a word: pod logs normally arrive within a second.
const slowArrival = 15 * time.Second

func checkArrival(s *Snapshot) []Finding {
	a := s.Arrival
	switch {
	case a.Err != nil:
		return []Finding{{Status: Error, Object: "service/" + s.Namespace + "/" + s.Name, Detail: a.Err.Error(),
			Fix: "see what the collector says: kubectl logs -n " + s.Namespace + " " + s.Name + "-0"}}
	case a.After > slowArrival:
		return []Finding{{Status: Warning, Detail: fmt.Sprintf("it took %s", a.After.Round(100*time.Millisecond)), Fix: install.Command(s.Namespace, "status")}}
	}
	return []Finding{{Status: OK, Detail: fmt.Sprintf("after %s", a.After.Round(10*time.Millisecond))}}
}
