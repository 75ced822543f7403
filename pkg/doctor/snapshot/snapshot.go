package snapshot

import (
	"fmt"
	"slices"
	"strings"
	"time"

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
	apiversion "k8s.io/apimachinery/pkg/version"
)

// Snapshot is what the checks look at. Everything that its accessors return is
// shared: look, do not change. It is safe for concurrent reading.
type Snapshot struct {
	// Taken is when it was taken; checks use it as their "now".
	Taken time.Time
	// Context is the kubeconfig context, empty without a cluster.
	Context string
	// Namespace and Name are those of our own stack (StatefulSet, Service and
	// ServiceAccount), whether it is there or not.
	Namespace, Name string
	// Domain is the cluster domain, with DomainFrom saying how it is known.
	Domain, DomainFrom string
	// Options are the wishes of the command line that checks may look at.
	Options Options
	// Notes are remarks of the loader for stderr (files that were not understood).
	Notes []string

	d *data
	t *tracker
}

// Options are settings that checks see.
type Options struct {
	// TargetVersion is the chart version that an upgrade would go to.
	TargetVersion string
}

// data is shared by all views of one snapshot.
type data struct {
	objects map[Input][]object
	missing map[Input]*Missing
	scope   map[Input][]string
	sources map[any]*source
	files   map[Input]int // how many objects came from files

	version         *apiversion.Info
	clocks          Clocks
	releases        []*Release
	collectors      []*Collector
	stacks          []*Component
	ownRights       map[Right]bool
	collectorRights map[Right]bool
	query           *QueryResult
	arrival         *ArrivalResult
	flow            *FlowResult
	metrics         []*Metrics
	logs            []*LogExcerpt
	inside          []*InsideResult
	installRights   []InstallRight
	stale           []string
	volumes         []VolumeUse
	refused         map[string]*Right // kind/namespace/name of values that may not be read
}

// object is what the loaders found: a pointer to a typed object or to an
// unstructured one.
type object interface {
	metav1.Object
}

// New returns an empty snapshot in which every input is there (and empty):
// the start of loaders and tests.
func New(taken time.Time, namespace, name string) *Snapshot {
	return &Snapshot{
		Taken: taken, Namespace: namespace, Name: name, Domain: "cluster.local", DomainFrom: "the default",
		d: &data{
			objects: map[Input][]object{}, missing: map[Input]*Missing{}, scope: map[Input][]string{}, sources: map[any]*source{},
			files: map[Input]int{}, refused: map[string]*Right{}, ownRights: map[Right]bool{}, collectorRights: map[Right]bool{},
		},
	}
}

// For returns a view for a check that declares these inputs, and a function
// that tells what it read beyond them.
func (s *Snapshot) For(inputs ...Input) (view *Snapshot, undeclared func() []Input) {
	v := *s
	v.t = &tracker{allowed: inputs}
	return &v, func() []Input { return v.t.undeclared }
}

// Missing says why an input is not there; nil when it is.
func (s *Snapshot) Missing(in Input) *Missing { return s.d.missing[in] }

// Lacking are the rights without which inputs are missing, each once, in the
// order of loading.
func (s *Snapshot) Lacking() []Right {
	var out []Right
	for _, k := range kinds {
		if m := s.d.missing[k.in]; m != nil && m.Right != nil && !slices.Contains(out, *m.Right) {
			out = append(out, *m.Right)
		}
	}
	return out
}

// SetMissing marks an input as not there. For loaders and tests.
func (s *Snapshot) SetMissing(in Input, m *Missing) {
	if m == nil {
		delete(s.d.missing, in)
		return
	}
	s.d.missing[in] = m
}

// Scope lists the namespaces that an input was read in; nil is all of them.
func (s *Snapshot) Scope(in Input) []string { return s.d.scope[in] }

// Covers says whether objects of a namespace would be there if they exist.
func (s *Snapshot) Covers(in Input, namespace string) bool {
	s.t.touch(in)
	if s.d.missing[in] != nil {
		return false
	}
	scope := s.d.scope[in]
	return scope == nil || slices.Contains(scope, namespace)
}

// Live says whether a cluster was asked.
func (s *Snapshot) Live() bool { return s.Context != "" || s.d.version != nil }

func list[T any](s *Snapshot, in Input) []*T {
	s.t.touch(in)
	out := make([]*T, 0, len(s.d.objects[in]))
	for _, o := range s.d.objects[in] {
		if t, ok := any(o).(*T); ok {
			out = append(out, t)
		}
	}
	return out
}

// Add puts an object in, for tests and loaders; o must be a pointer to the
// type that the input's accessor returns.
func (s *Snapshot) Add(in Input, o metav1.Object) { s.d.objects[in] = append(s.d.objects[in], o) }

// Namespaces and the accessors below return the objects of one kind, in the
// order of the API server.
func (s *Snapshot) Namespaces() []*corev1.Namespace { return list[corev1.Namespace](s, Namespaces) }
func (s *Snapshot) Nodes() []*corev1.Node           { return list[corev1.Node](s, Nodes) }
func (s *Snapshot) Pods() []*corev1.Pod             { return list[corev1.Pod](s, Pods) }
func (s *Snapshot) Services() []*corev1.Service     { return list[corev1.Service](s, Services) }
func (s *Snapshot) EndpointSlices() []*discoveryv1.EndpointSlice {
	return list[discoveryv1.EndpointSlice](s, EndpointSlices)
}

// Events are the warnings of the last hour or so, as long as the cluster keeps them.
func (s *Snapshot) Events() []*corev1.Event { return list[corev1.Event](s, Events) }

// ConfigMaps are those of namespaces that hold a log stack, and Grafana's datasources.
func (s *Snapshot) ConfigMaps() []*corev1.ConfigMap { return list[corev1.ConfigMap](s, ConfigMaps) }

// Secrets are only those that a log collector mounts, for their configuration.
func (s *Snapshot) Secrets() []*corev1.Secret { return list[corev1.Secret](s, Secrets) }
func (s *Snapshot) ServiceAccounts() []*corev1.ServiceAccount {
	return list[corev1.ServiceAccount](s, ServiceAccounts)
}
func (s *Snapshot) Claims() []*corev1.PersistentVolumeClaim {
	return list[corev1.PersistentVolumeClaim](s, Claims)
}
func (s *Snapshot) StorageClasses() []*storagev1.StorageClass {
	return list[storagev1.StorageClass](s, StorageClasses)
}
func (s *Snapshot) DaemonSets() []*appsv1.DaemonSet   { return list[appsv1.DaemonSet](s, DaemonSets) }
func (s *Snapshot) Deployments() []*appsv1.Deployment { return list[appsv1.Deployment](s, Deployments) }
func (s *Snapshot) StatefulSets() []*appsv1.StatefulSet {
	return list[appsv1.StatefulSet](s, StatefulSets)
}
func (s *Snapshot) Jobs() []*batchv1.Job         { return list[batchv1.Job](s, Jobs) }
func (s *Snapshot) CronJobs() []*batchv1.CronJob { return list[batchv1.CronJob](s, CronJobs) }
func (s *Snapshot) NetworkPolicies() []*networkingv1.NetworkPolicy {
	return list[networkingv1.NetworkPolicy](s, NetworkPolicies)
}
func (s *Snapshot) Ingresses() []*networkingv1.Ingress {
	return list[networkingv1.Ingress](s, Ingresses)
}
func (s *Snapshot) Roles() []*rbacv1.Role { return list[rbacv1.Role](s, Roles) }
func (s *Snapshot) RoleBindings() []*rbacv1.RoleBinding {
	return list[rbacv1.RoleBinding](s, RoleBindings)
}
func (s *Snapshot) ClusterRoles() []*rbacv1.ClusterRole {
	return list[rbacv1.ClusterRole](s, ClusterRoles)
}
func (s *Snapshot) ClusterBindings() []*rbacv1.ClusterRoleBinding {
	return list[rbacv1.ClusterRoleBinding](s, ClusterBindings)
}
func (s *Snapshot) Webhooks() []*admissionv1.ValidatingWebhookConfiguration {
	return list[admissionv1.ValidatingWebhookConfiguration](s, Webhooks)
}

// Leases are the heartbeats of nodes.
func (s *Snapshot) Leases() []*coordv1.Lease { return list[coordv1.Lease](s, Leases) }

// HelmReleases, Kustomizations, HelmRepositories and OCIRepositories are
// Flux's, Applications Argo CD's, in whichever version the cluster has.
func (s *Snapshot) HelmReleases() []*unstructured.Unstructured {
	return list[unstructured.Unstructured](s, HelmReleases)
}
func (s *Snapshot) Kustomizations() []*unstructured.Unstructured {
	return list[unstructured.Unstructured](s, Kustomizations)
}
func (s *Snapshot) HelmRepositories() []*unstructured.Unstructured {
	return list[unstructured.Unstructured](s, HelmRepositories)
}
func (s *Snapshot) OCIRepositories() []*unstructured.Unstructured {
	return list[unstructured.Unstructured](s, OCIRepositories)
}
func (s *Snapshot) Applications() []*unstructured.Unstructured {
	return list[unstructured.Unstructured](s, Applications)
}

// Version is the API server's, nil without one.
func (s *Snapshot) Version() *apiversion.Info {
	s.t.touch(Server)
	return s.d.version
}

// Releases are all charts with their values.
func (s *Snapshot) Releases() []*Release {
	s.t.touch(Releases)
	return s.d.releases
}

// Collectors are all log collectors' configurations.
func (s *Snapshot) Collectors() []*Collector {
	s.t.touch(Collectors)
	return s.d.collectors
}

// Stacks are the workloads of known log products.
func (s *Snapshot) Stacks() []*Component {
	s.t.touch(Stacks)
	return s.d.stacks
}

// OwnRights and CollectorRights say per right that was asked for whether it is there.
func (s *Snapshot) OwnRights() map[Right]bool {
	s.t.touch(OwnRights)
	return s.d.ownRights
}

// CollectorRights are those of our own collector's ServiceAccount.
func (s *Snapshot) CollectorRights() map[Right]bool {
	s.t.touch(CollectorRights)
	return s.d.collectorRights
}

// Query is how the way from here to our collector went.
func (s *Snapshot) Query() *QueryResult {
	s.t.touch(Query)
	return s.d.query
}

// Arrival is the fate of the line that our collector was asked to write.
func (s *Snapshot) Arrival() *ArrivalResult {
	s.t.touch(Arrival)
	return s.d.arrival
}

// SetVersion, SetProbes: for loaders and tests.
func (s *Snapshot) SetVersion(v *apiversion.Info) { s.d.version = v }

// SetProbes puts the answers of the probes in.
func (s *Snapshot) SetProbes(q *QueryResult, a *ArrivalResult) { s.d.query, s.d.arrival = q, a }

// QueryResult is how the way from here to the collector went.
type QueryResult struct {
	Via  string // how it was reached
	Note string
	// Version is the collector's, Plugin that of the program that asks; "" when
	// unknown.
	Version, Plugin string
	Err             error // nil: it answers and is ready
}

// ArrivalResult is the fate of a line that the collector was asked to write.
type ArrivalResult struct {
	After time.Duration // from asking for it to being found by a query
	// Hops are the steps of its way in order, as far as the collector could tell
	// them; a line that did not arrive has those that it came past.
	Hops []ArrivalHop
	Err  error // nil: it arrived
}

// ArrivalHop is a step of a line's way, and the time that it took.
type ArrivalHop struct {
	Name string
	Took time.Duration
}

// The steps of a line's way.
const (
	HopWritten   = "written"   // the container runtime stamped it
	HopRead      = "read"      // the collector got it back from the API server
	HopStored    = "stored"    // it is durable
	HopQueryable = "queryable" // a query found it
)

// Find returns the object of a list by namespace and name, nil when it is not there.
func Find[T metav1.Object](list []T, namespace, name string) (found T, ok bool) {
	for _, o := range list {
		if o.GetNamespace() == namespace && o.GetName() == name {
			return o, true
		}
	}
	return found, false
}

// Selects says whether a plain selector matches labels; an empty one matches nothing.
func Selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

// Ref says where an object is. kind is used when the object does not say it.
func (s *Snapshot) Ref(o metav1.Object, path ...string) Ref {
	p := strings.Join(path, ".")
	src := s.d.sources[o]
	if src == nil {
		return Ref{Kind: kindOf(o), Namespace: o.GetNamespace(), Name: o.GetName(), Path: p}
	}
	r := Ref{Kind: src.kind, Namespace: o.GetNamespace(), Name: o.GetName(), Path: p, File: src.file}
	if n, _ := lookupKey(src.node, path); n != nil {
		r.Line, r.Column = n.Line, n.Column
	} else if src.node != nil {
		r.Line, r.Column = src.node.Line, src.node.Column
	}
	return r
}

// kindOf names the kind of a typed object: lists leave TypeMeta empty.
func kindOf(o metav1.Object) string {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.GetKind()
	}
	s := fmt.Sprintf("%T", o)
	return s[strings.LastIndexByte(s, '.')+1:]
}

// SetRights puts the answers about rights in.
func (s *Snapshot) SetRights(own, collector map[Right]bool) {
	s.d.ownRights, s.d.collectorRights = own, collector
}
