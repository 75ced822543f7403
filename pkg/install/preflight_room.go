package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// architectures are those of the collector's image.
var architectures = []string{"amd64", "arm64", "arm"}

// claimNames are the names that the StatefulSet controller gives the volume claims.
func claimNames(replicas int32) (names []string) {
	for i := range replicas {
		names = append(names, fmt.Sprintf("data-%s-%d", Name, i))
	}
	return names
}

func (s *scene) replicas() int32 {
	if s.set.Spec.Replicas == nil {
		return 1
	}
	return *s.set.Spec.Replicas
}

// claims are the volume claims that exist already.
func (s *scene) claims(ctx context.Context) (found []*corev1.PersistentVolumeClaim, err error) {
	for _, name := range claimNames(s.replicas()) {
		claim, err := s.c.Kube.CoreV1().PersistentVolumeClaims(s.v.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, claim)
	}
	return found, nil
}

func checkStorage(ctx context.Context, s *scene) ([]Problem, error) {
	if s.v.Storage.Ephemeral {
		return nil, nil
	}
	existing, err := s.claims(ctx)
	if err != nil {
		return nil, err
	}
	var out []Problem
	for _, claim := range existing {
		want := resource.MustParse(s.v.Storage.Size)
		if have := claim.Spec.Resources.Requests.Storage(); s.running() == nil && have.Cmp(want) != 0 {
			out = append(out, Problem{Warning: true, Object: "persistentvolumeclaim/" + claim.Name, Detail: fmt.Sprintf("an earlier installation left it with %s; its logs are used again, and it keeps that size", have),
				Fix: "--storage-size " + have.String() + ", so that the collector knows its size; or delete it with its logs: " + Command(s.v.Namespace, "uninstall --purge")})
		}
	}
	if len(existing) >= int(s.replicas()) {
		return out, nil
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: s.v.Namespace, Name: "data-" + Name + "-0"}}
	if s.v.Storage.Class != "" {
		claim.Spec.StorageClassName = &s.v.Storage.Class
	}
	classes, err := s.c.Kube.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return out, err
	}
	if stuck := judgeClass(claim, classes.Items); stuck != nil {
		// Nothing has been made yet that would have to be taken out first.
		fix, _, _ := strings.Cut(stuck.Fix, afterFirst)
		out = append(out, Problem{Object: stuck.Object, Detail: stuck.Reason, Fix: fix})
	}
	return out, nil
}

// demand is what the pods and their claims ask of a quota.
func (s *scene) demand() map[corev1.ResourceName]resource.Quantity {
	n := int64(s.replicas())
	sum := func(q resource.Quantity) resource.Quantity {
		q.Mul(n)
		return q
	}
	container := s.set.Spec.Template.Spec.Containers[0].Resources
	cpu, memory := container.Requests[corev1.ResourceCPU], container.Requests[corev1.ResourceMemory]
	out := map[corev1.ResourceName]resource.Quantity{
		corev1.ResourcePods: *resource.NewQuantity(n, resource.DecimalSI),
		corev1.ResourceCPU:  sum(cpu), corev1.ResourceRequestsCPU: sum(cpu),
		corev1.ResourceMemory: sum(memory), corev1.ResourceRequestsMemory: sum(memory),
		corev1.ResourceLimitsMemory: sum(container.Limits[corev1.ResourceMemory]),
	}
	if !s.v.Storage.Ephemeral {
		size := sum(resource.MustParse(s.v.Storage.Size))
		out[corev1.ResourceRequestsStorage] = size
		out[corev1.ResourcePersistentVolumeClaims] = *resource.NewQuantity(n, resource.DecimalSI)
		if class := s.v.Storage.Class; class != "" {
			out[corev1.ResourceName(class+".storageclass.storage.k8s.io/requests.storage")] = size
		}
	}
	return out
}

// checkQuota compares with the quotas of the namespace. An installation that
// runs has its share already; only a fresh one is compared.
func checkQuota(ctx context.Context, s *scene) ([]Problem, error) {
	if s.namespace == nil {
		return nil, nil
	}
	ranges, err := s.c.Kube.CoreV1().LimitRanges(s.v.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := s.checkRanges(ranges.Items)
	if s.running() != nil {
		return out, nil
	}
	quotas, err := s.c.Kube.CoreV1().ResourceQuotas(s.v.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	existing, err := s.claims(ctx)
	if err != nil {
		return nil, err
	}
	demand := s.demand()
	for i := range quotas.Items {
		q := &quotas.Items[i]
		if len(q.Spec.Scopes) > 0 || q.Spec.ScopeSelector != nil {
			continue // only for some pods; which ones, admission knows
		}
		hard := q.Status.Hard
		if hard == nil {
			hard = q.Spec.Hard
		}
		for _, name := range sortedNames(hard) {
			if name == corev1.ResourceLimitsCPU && !defaultsCPU(ranges.Items) {
				out = append(out, Problem{Object: "resourcequota/" + q.Name, Detail: "it wants a CPU limit of every pod, and the collector has none: its pods would be refused",
					Fix: "give the namespace a LimitRange with a default CPU limit, or install into another one (-n NAME)"})
				continue
			}
			want, counts := demand[name]
			isStorage := strings.Contains(string(name), "storage") || name == corev1.ResourcePersistentVolumeClaims
			if !counts || isStorage && len(existing) > 0 {
				continue
			}
			used := q.Status.Used[name]
			left := hard[name].DeepCopy()
			left.Sub(used)
			if want.Cmp(left) > 0 {
				total := hard[name]
				out = append(out, Problem{Object: "resourcequota/" + q.Name, Detail: fmt.Sprintf("%s: %s is needed and %s of %s is left", name, want.String(), left.String(), total.String()),
					Fix: "ask for less (--memory, --storage-size, --set resources.cpu=…), or for a larger quota"})
			}
		}
	}
	return out, nil
}

func sortedNames(list corev1.ResourceList) (names []corev1.ResourceName) {
	for name := range list {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// defaultsCPU says whether a LimitRange gives containers without a CPU limit one.
func defaultsCPU(ranges []corev1.LimitRange) bool {
	for _, r := range ranges {
		for _, item := range r.Spec.Limits {
			_, byDefault := item.Default[corev1.ResourceCPU]
			_, byMax := item.Max[corev1.ResourceCPU] // becomes the default
			if item.Type == corev1.LimitTypeContainer && (byDefault || byMax) {
				return true
			}
		}
	}
	return false
}

func (s *scene) checkRanges(ranges []corev1.LimitRange) (out []Problem) {
	container := s.set.Spec.Template.Spec.Containers[0].Resources
	for i := range ranges {
		object := "limitrange/" + ranges[i].Name
		for _, item := range ranges[i].Spec.Limits {
			compare := func(what string, have resource.Quantity, name corev1.ResourceName, fix string) {
				if most, ok := item.Max[name]; ok && have.Cmp(most) > 0 {
					out = append(out, Problem{Object: object, Detail: fmt.Sprintf("%s %s is more than the %s that a %s may have", what, have.String(), most.String(), strings.ToLower(string(item.Type))), Fix: fix})
				}
				if least, ok := item.Min[name]; ok && have.Cmp(least) < 0 {
					out = append(out, Problem{Object: object, Detail: fmt.Sprintf("%s %s is less than the %s that a %s has to have", what, have.String(), least.String(), strings.ToLower(string(item.Type))), Fix: fix})
				}
			}
			switch item.Type {
			case corev1.LimitTypeContainer, corev1.LimitTypePod:
				compare("resources.memory", container.Limits[corev1.ResourceMemory], corev1.ResourceMemory, "choose another --memory")
				compare("resources.cpu", container.Requests[corev1.ResourceCPU], corev1.ResourceCPU, "choose another --set resources.cpu=…")
			case corev1.LimitTypePersistentVolumeClaim:
				if !s.v.Storage.Ephemeral {
					compare("storage.size", resource.MustParse(s.v.Storage.Size), corev1.ResourceStorage, "choose another --storage-size")
				}
			}
		}
	}
	return out
}

// checkNodes looks for nodes that the pods may run on, and that their image runs on.
func checkNodes(ctx context.Context, s *scene) ([]Problem, error) {
	nodes, err := s.c.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	if len(nodes.Items) == 0 {
		return []Problem{{Detail: "the cluster has no nodes", Fix: "add one, and install again"}}, nil
	}
	selector := labels.SelectorFromSet(s.v.NodeSelector)
	selected, fitting := 0, 0
	var unfit, tainted []string
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if !selector.Matches(labels.Set(n.Labels)) {
			continue
		}
		selected++
		info := n.Status.NodeInfo
		if arch := info.Architecture; arch != "" && !slices.Contains(architectures, arch) || info.OperatingSystem != "" && info.OperatingSystem != "linux" {
			unfit = append(unfit, fmt.Sprintf("%s (%s/%s)", n.Name, info.OperatingSystem, arch))
			continue
		}
		if taint := untolerated(n, s.v.Tolerations); taint != "" {
			tainted = append(tainted, n.Name+" ("+taint+")")
			continue
		}
		fitting++
	}
	switch {
	case selected == 0:
		return []Problem{{Detail: fmt.Sprintf("none of the %d nodes has the labels of nodeSelector: %s", len(nodes.Items), selector), Fix: "look at their labels: kubectl get nodes --show-labels"}}, nil
	case fitting == 0 && len(tainted) == 0:
		return []Problem{{Detail: "the collector's image is for linux on amd64, arm64 and arm, and the nodes are " + some(unfit), Fix: "add a node that it runs on"}}, nil
	case fitting == 0:
		return []Problem{{Detail: "every node that could run it is tainted: " + some(tainted), Fix: "add tolerations (--set tolerations=[{operator: Exists}] tolerates all)"}}, nil
	case len(unfit) > 0 && len(s.v.NodeSelector) == 0:
		return []Problem{{Warning: true, Detail: "the collector's image does not run on " + some(unfit) + ", where its pod may be put", Fix: "--set nodeSelector.kubernetes.io/arch=amd64 (or arm64)"}}, nil
	}
	return nil, nil
}

// some lists a few names.
func some(names []string) string {
	const few = 5
	if len(names) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
	}
	return strings.Join(names, ", ")
}

// untolerated is the first taint that keeps the pods off a node.
func untolerated(n *corev1.Node, tolerations []corev1.Toleration) string {
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		// Nodes that are not ready just now get these by themselves, and lose them.
		if t.Effect == corev1.TaintEffectPreferNoSchedule || strings.HasPrefix(t.Key, "node.kubernetes.io/") && t.Key != corev1.TaintNodeUnschedulable {
			continue
		}
		if !slices.ContainsFunc(tolerations, func(tol corev1.Toleration) bool { return tolerates(tol, t) }) {
			return t.ToString()
		}
	}
	return ""
}

func tolerates(tol corev1.Toleration, t *corev1.Taint) bool {
	if tol.Effect != "" && tol.Effect != t.Effect || tol.Key != "" && tol.Key != t.Key {
		return false
	}
	return tol.Operator == corev1.TolerationOpExists || tol.Value == t.Value
}
