package snapshot

import (
	"context"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
)

// kind is one row of the table below: how an input is listed from a cluster
// and recognised in a file.
type kind struct {
	in         Input
	group      string
	name       string // kind as in a manifest
	namespaced bool
	// only is the single namespace that is read, if any.
	only string
	// fields narrows the list on the server.
	fields string
	// later kinds are listed once the stacks are known, in their namespaces only.
	later bool
	// byName kinds are got one by one, never listed with their data (Secrets).
	byName bool
	new    func() metav1.Object
	list   func(context.Context, kubernetes.Interface, string, metav1.ListOptions) (runtime.Object, error)
}

// custom kinds are listed by the dynamic client, in the preferred version of
// their group; a group that the cluster does not have is an empty list.
func (k kind) custom() bool { return k.list == nil && !k.byName }

func obj() metav1.Object { return &unstructured.Unstructured{} }

// kinds are all kinds that a snapshot knows, in the order of loading. To add
// one: a row here, an Input, an accessor.
var kinds = []kind{
	{in: Namespaces, name: "Namespace", new: func() metav1.Object { return &corev1.Namespace{} },
		list: func(ctx context.Context, c kubernetes.Interface, _ string, o metav1.ListOptions) (runtime.Object, error) {
			return c.CoreV1().Namespaces().List(ctx, o)
		}},
	{in: Nodes, name: "Node", new: func() metav1.Object { return &corev1.Node{} },
		list: func(ctx context.Context, c kubernetes.Interface, _ string, o metav1.ListOptions) (runtime.Object, error) {
			return c.CoreV1().Nodes().List(ctx, o)
		}},
	{in: Pods, name: "Pod", namespaced: true, new: func() metav1.Object { return &corev1.Pod{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.CoreV1().Pods(ns).List(ctx, o)
		}},
	{in: Services, name: "Service", namespaced: true, new: func() metav1.Object { return &corev1.Service{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.CoreV1().Services(ns).List(ctx, o)
		}},
	{in: EndpointSlices, group: "discovery.k8s.io", name: "EndpointSlice", namespaced: true, new: func() metav1.Object { return &discoveryv1.EndpointSlice{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.DiscoveryV1().EndpointSlices(ns).List(ctx, o)
		}},
	{in: Events, name: "Event", namespaced: true, fields: "type=Warning", new: func() metav1.Object { return &corev1.Event{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.CoreV1().Events(ns).List(ctx, o)
		}},
	{in: ServiceAccounts, name: "ServiceAccount", namespaced: true, later: true, new: func() metav1.Object { return &corev1.ServiceAccount{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.CoreV1().ServiceAccounts(ns).List(ctx, o)
		}},
	{in: Claims, name: "PersistentVolumeClaim", namespaced: true, new: func() metav1.Object { return &corev1.PersistentVolumeClaim{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.CoreV1().PersistentVolumeClaims(ns).List(ctx, o)
		}},
	{in: StorageClasses, group: "storage.k8s.io", name: "StorageClass", new: func() metav1.Object { return &storagev1.StorageClass{} },
		list: func(ctx context.Context, c kubernetes.Interface, _ string, o metav1.ListOptions) (runtime.Object, error) {
			return c.StorageV1().StorageClasses().List(ctx, o)
		}},
	{in: DaemonSets, group: "apps", name: "DaemonSet", namespaced: true, new: func() metav1.Object { return &appsv1.DaemonSet{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.AppsV1().DaemonSets(ns).List(ctx, o)
		}},
	{in: Deployments, group: "apps", name: "Deployment", namespaced: true, new: func() metav1.Object { return &appsv1.Deployment{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.AppsV1().Deployments(ns).List(ctx, o)
		}},
	{in: StatefulSets, group: "apps", name: "StatefulSet", namespaced: true, new: func() metav1.Object { return &appsv1.StatefulSet{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.AppsV1().StatefulSets(ns).List(ctx, o)
		}},
	{in: Jobs, group: "batch", name: "Job", namespaced: true, new: func() metav1.Object { return &batchv1.Job{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.BatchV1().Jobs(ns).List(ctx, o)
		}},
	{in: CronJobs, group: "batch", name: "CronJob", namespaced: true, new: func() metav1.Object { return &batchv1.CronJob{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.BatchV1().CronJobs(ns).List(ctx, o)
		}},
	{in: NetworkPolicies, group: "networking.k8s.io", name: "NetworkPolicy", namespaced: true, new: func() metav1.Object { return &networkingv1.NetworkPolicy{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.NetworkingV1().NetworkPolicies(ns).List(ctx, o)
		}},
	{in: Ingresses, group: "networking.k8s.io", name: "Ingress", namespaced: true, new: func() metav1.Object { return &networkingv1.Ingress{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.NetworkingV1().Ingresses(ns).List(ctx, o)
		}},
	{in: Roles, group: "rbac.authorization.k8s.io", name: "Role", namespaced: true, later: true, new: func() metav1.Object { return &rbacv1.Role{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.RbacV1().Roles(ns).List(ctx, o)
		}},
	{in: RoleBindings, group: "rbac.authorization.k8s.io", name: "RoleBinding", namespaced: true, new: func() metav1.Object { return &rbacv1.RoleBinding{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.RbacV1().RoleBindings(ns).List(ctx, o)
		}},
	{in: ClusterRoles, group: "rbac.authorization.k8s.io", name: "ClusterRole", new: func() metav1.Object { return &rbacv1.ClusterRole{} },
		list: func(ctx context.Context, c kubernetes.Interface, _ string, o metav1.ListOptions) (runtime.Object, error) {
			return c.RbacV1().ClusterRoles().List(ctx, o)
		}},
	{in: ClusterBindings, group: "rbac.authorization.k8s.io", name: "ClusterRoleBinding", new: func() metav1.Object { return &rbacv1.ClusterRoleBinding{} },
		list: func(ctx context.Context, c kubernetes.Interface, _ string, o metav1.ListOptions) (runtime.Object, error) {
			return c.RbacV1().ClusterRoleBindings().List(ctx, o)
		}},
	{in: Webhooks, group: "admissionregistration.k8s.io", name: "ValidatingWebhookConfiguration", new: func() metav1.Object { return &admissionv1.ValidatingWebhookConfiguration{} },
		list: func(ctx context.Context, c kubernetes.Interface, _ string, o metav1.ListOptions) (runtime.Object, error) {
			return c.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, o)
		}},
	{in: Leases, group: "coordination.k8s.io", name: "Lease", namespaced: true, only: corev1.NamespaceNodeLease, new: func() metav1.Object { return &coordv1.Lease{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.CoordinationV1().Leases(ns).List(ctx, o)
		}},
	{in: ConfigMaps, name: "ConfigMap", namespaced: true, later: true, new: func() metav1.Object { return &corev1.ConfigMap{} },
		list: func(ctx context.Context, c kubernetes.Interface, ns string, o metav1.ListOptions) (runtime.Object, error) {
			return c.CoreV1().ConfigMaps(ns).List(ctx, o)
		}},
	{in: Secrets, name: "Secret", namespaced: true, byName: true, new: func() metav1.Object { return &corev1.Secret{} }},
	{in: HelmReleases, group: "helm.toolkit.fluxcd.io", name: "HelmRelease", namespaced: true, new: obj},
	{in: Kustomizations, group: "kustomize.toolkit.fluxcd.io", name: "Kustomization", namespaced: true, new: obj},
	{in: HelmRepositories, group: "source.toolkit.fluxcd.io", name: "HelmRepository", namespaced: true, new: obj},
	{in: OCIRepositories, group: "source.toolkit.fluxcd.io", name: "OCIRepository", namespaced: true, new: obj},
	{in: Applications, group: "argoproj.io", name: "Application", namespaced: true, new: obj},
}

func kindFor(group, name string) (kind, bool) {
	for _, k := range kinds {
		if k.group == group && k.name == name {
			return k, true
		}
	}
	return kind{}, false
}
