package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Limits of a live load.
const (
	// pageSize of a List: few calls, bounded answers.
	pageSize = 1000
	// parallelLists at a time: the client's own rate limit is the other bound.
	parallelLists = 8
	// maxReleases bounds the Gets of Helm secrets.
	maxReleases = 24
	// maxStackNamespaces bounds the per-namespace lists of later kinds.
	maxStackNamespaces = 8
)

// Probes reach into the running stack. They are given by the caller, because a
// snapshot of files has none. A nil probe leaves its input missing.
type Probes struct {
	Query   func(context.Context) *QueryResult
	Arrival func(context.Context) *ArrivalResult
	Flow    func(context.Context) *FlowResult
	// Inside looks from a pod in the cluster at what log traffic goes to; nil
	// when nobody asked for that. The snapshot is complete but for this.
	Inside func(context.Context, *Snapshot) []*InsideResult
}

var errNotReached = errors.New("the API server was not reached")

// CollectorNeeds are the rights without which our collector reads no logs.
var CollectorNeeds = []Right{
	{Verb: "get", Resource: "pods"},
	{Verb: "list", Resource: "pods"},
	{Verb: "watch", Resource: "pods"},
	{Verb: "get", Resource: "pods", Subresource: "log"},
}

// OwnNeeds are the rights with which a person can query: one is enough.
func OwnNeeds(namespace, service string) []Right {
	return []Right{
		{Verb: "get", Resource: "services", Subresource: "proxy", Namespace: namespace, Name: "http:" + service + ":http"},
		{Verb: "create", Resource: "pods", Subresource: "portforward", Namespace: namespace},
	}
}

// live loads from a cluster.
type live struct {
	s  *Snapshot
	c  *kube.Client
	mu sync.Mutex // guards s.d while lists run in parallel
	// all is true when every List of the whole cluster is allowed.
	all bool
	// groups are the API groups of the cluster with their preferred version;
	// nil when discovery failed.
	groups map[string]string
}

// loadLive fills s from the cluster. It fails only when ctx ends: whatever
// cannot be read is a missing input.
func (s *Snapshot) loadLive(ctx context.Context, c *kube.Client) error {
	l := &live{s: s, c: c}
	s.Context = c.Context
	v, err := serverVersion(ctx, c)
	if err != nil {
		s.SetMissing(Server, &Missing{Err: kube.Explain(err)})
		for _, k := range kinds {
			s.SetMissing(k.in, &Missing{Err: errNotReached})
		}
		for _, in := range []Input{OwnRights, CollectorRights, Query, Arrival, Flow, StackMetrics, Logs, Volumes, Inside, InstallRights, Discovery} {
			s.SetMissing(in, &Missing{Err: errNotReached})
		}
		return ctx.Err()
	}
	s.d.version = v
	l.discover(ctx)
	l.all = l.may(ctx, Right{Verb: "list", Group: "*", Resource: "*"})
	l.lists(ctx, false, nil)
	s.deriveStacks()
	l.lists(ctx, true, s.stackNamespaces())
	l.datasources(ctx)
	l.scaleUps(ctx)
	l.secrets(ctx)
	l.valuesFrom(ctx)
	s.d.stacks = nil
	l.rights(ctx)
	return ctx.Err()
}

// serverVersion asks with the context: discovery's own method waits ten seconds
// for a silent server even after Ctrl-C. Fakes have no REST client.
func serverVersion(ctx context.Context, c *kube.Client) (*apiversion.Info, error) {
	rc := c.Kube.Discovery().RESTClient()
	if rc == nil {
		return c.Kube.Discovery().ServerVersion()
	}
	res := rc.Get().AbsPath("/version").Do(ctx)
	body, err := res.Raw()
	if err != nil {
		return nil, err
	}
	var v apiversion.Info
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("the answer of /version is not Kubernetes's: %w", err)
	}
	return &v, nil
}

// discoveryTypes are asked for in one request: an API server from 1.27 on says
// for every group whether it could be asked itself (aggregated discovery), an
// older one, or a cut-off one, lists the groups alone.
const discoveryTypes = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"

// discover finds the API groups of the cluster, and those that do not answer.
func (l *live) discover(ctx context.Context) {
	rc := l.c.Kube.Discovery().RESTClient()
	if rc == nil {
		l.groups = map[string]string{}
		return
	}
	body, err := rc.Get().AbsPath("/apis").SetHeader("Accept", discoveryTypes).Do(ctx).Raw()
	if err == nil {
		err = l.readGroups(body)
	}
	if err != nil {
		l.groups = nil
		l.s.SetMissing(Discovery, &Missing{Err: kube.Explain(err)})
	}
}

// readGroups takes either of the two answers.
func (l *live) readGroups(body []byte) error {
	l.groups = map[string]string{}
	var all apidiscovery.APIGroupDiscoveryList
	if err := json.Unmarshal(body, &all); err != nil {
		return fmt.Errorf("the answer of /apis is not Kubernetes's: %w", err)
	}
	if all.Kind != "APIGroupDiscoveryList" {
		l.s.SetMissing(Discovery, &Missing{Err: errors.New("this API server does not say which of its groups answer: kubectl get apiservice")})
		var list metav1.APIGroupList
		if err := json.Unmarshal(body, &list); err != nil {
			return fmt.Errorf("the answer of /apis is not Kubernetes's: %w", err)
		}
		for _, g := range list.Groups {
			l.groups[g.Name] = g.PreferredVersion.Version
		}
		return nil
	}
	for _, g := range all.Items {
		for i, v := range g.Versions {
			if i == 0 { // they come in the order of preference
				l.groups[g.Name] = v.Version
			}
			if v.Freshness == apidiscovery.DiscoveryFreshnessStale {
				l.s.d.stale = append(l.s.d.stale, v.Version+"."+g.Name)
			}
		}
	}
	return nil
}

// StaleGroups are the APIServices ("v1beta1.metrics.k8s.io") whose server does
// not answer the API server.
func (s *Snapshot) StaleGroups() []string {
	s.t.touch(Discovery)
	return s.d.stale
}

// SetStaleGroups is for tests.
func (s *Snapshot) SetStaleGroups(names ...string) { s.d.stale = names }

// may asks for a right of the person who runs the doctor. An error counts as
// no: the List that follows says more.
func (l *live) may(ctx context.Context, r Right) bool {
	sar, err := l.c.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authv1.SelfSubjectAccessReview{
		Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes(r)},
	}, metav1.CreateOptions{})
	return err == nil && sar.Status.Allowed
}

func attributes(r Right) *authv1.ResourceAttributes {
	return &authv1.ResourceAttributes{Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name}
}

// lists reads all kinds of a phase in parallel.
func (l *live) lists(ctx context.Context, later bool, namespaces []string) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelLists)
	for _, k := range kinds {
		if k.byName || k.later != later {
			continue
		}
		g.Go(func() error {
			l.listKind(ctx, k, namespaces)
			return ctx.Err()
		})
	}
	// The only error is that of ctx, which the caller looks at.
	_ = g.Wait()
}

// listKind lists a kind in the whole cluster, or where that is not allowed, in
// the namespaces of the command line.
func (l *live) listKind(ctx context.Context, k kind, namespaces []string) {
	right := Right{Verb: "list", Group: k.group, Resource: string(k.in), Namespace: k.only}
	if k.custom() {
		if l.groups != nil && l.groups[k.group] == "" {
			return // the cluster does not have this kind: an empty list
		}
	}
	if k.later && len(namespaces) > 0 {
		l.listIn(ctx, k, right, namespaces[:min(len(namespaces), maxStackNamespaces)], nil)
		return
	}
	if l.all || l.may(ctx, right) {
		err := l.list(ctx, k, k.only)
		if err == nil {
			return
		}
		l.miss(k.in, right, err)
		if !apierrors.IsForbidden(err) || k.only != "" || !k.namespaced {
			return
		}
	}
	if k.in == Namespaces && l.ownNamespaces(ctx) {
		return
	}
	if !k.namespaced || k.only != "" {
		l.miss(k.in, right, nil)
		return
	}
	l.listIn(ctx, k, right, l.own(), &right)
}

// own are the namespaces of the command line.
func (l *live) own() []string {
	var out []string
	for _, ns := range []string{l.s.Namespace, l.c.Namespace} {
		if ns != "" && !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	return out
}

// ownNamespaces gets them one by one: whoever may read in a namespace may often
// read the namespace itself, and not the list.
func (l *live) ownNamespaces(ctx context.Context) bool {
	var read []string
	for _, name := range l.own() {
		if !l.may(ctx, Right{Verb: "get", Resource: string(Namespaces), Namespace: name, Name: name}) {
			continue
		}
		ns, err := l.c.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			continue
		}
		ns.ManagedFields = nil
		l.mu.Lock()
		l.s.d.objects[Namespaces] = append(l.s.d.objects[Namespaces], ns)
		l.mu.Unlock()
		read = append(read, name)
	}
	if len(read) == 0 {
		return false
	}
	l.mu.Lock()
	l.s.d.scope[Namespaces] = read
	l.mu.Unlock()
	return true
}

// listIn lists a kind in some namespaces. It is missing when none can be read.
func (l *live) listIn(ctx context.Context, k kind, right Right, namespaces []string, wanted *Right) {
	var read []string
	var firstErr error
	for _, ns := range namespaces {
		r := right
		r.Namespace = ns
		if !l.all && !l.may(ctx, r) {
			if wanted == nil {
				wanted = &r
			}
			continue
		}
		if err := l.list(ctx, k, ns); err != nil {
			if firstErr == nil {
				firstErr = err
			}
			continue
		}
		read = append(read, ns)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(read) == 0 {
		if wanted == nil {
			wanted = &right
		}
		m := &Missing{Right: wanted}
		if firstErr != nil && !apierrors.IsForbidden(firstErr) {
			m = &Missing{Err: kube.Explain(firstErr)}
		}
		l.s.d.missing[k.in] = m
		return
	}
	delete(l.s.d.missing, k.in)
	l.s.d.scope[k.in] = read
}

func (l *live) miss(in Input, right Right, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil || apierrors.IsForbidden(err) {
		l.s.d.missing[in] = &Missing{Right: &right}
		return
	}
	l.s.d.missing[in] = &Missing{Err: kube.Explain(err)}
}

// list reads all pages of a kind.
func (l *live) list(ctx context.Context, k kind, namespace string) error {
	var found []object
	opts := metav1.ListOptions{Limit: pageSize, FieldSelector: k.fields}
	for {
		page, err := l.page(ctx, k, namespace, opts)
		if err != nil {
			return err
		}
		err = meta.EachListItem(page, func(o runtime.Object) error {
			m, err := meta.Accessor(o)
			if err != nil {
				return err
			}
			m.SetManagedFields(nil) // large, and nobody looks
			found = append(found, m)
			return nil
		})
		if err != nil {
			return err
		}
		lm, err := meta.ListAccessor(page)
		if err != nil {
			return err
		}
		if opts.Continue = lm.GetContinue(); opts.Continue == "" {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.d.objects[k.in] = append(l.s.d.objects[k.in], found...)
	return nil
}

func (l *live) page(ctx context.Context, k kind, namespace string, opts metav1.ListOptions) (runtime.Object, error) {
	if !k.custom() {
		return k.list(ctx, l.c.Kube, namespace, opts)
	}
	version := l.groups[k.group]
	if version == "" {
		version = "v1"
	}
	if l.c.Dynamic == nil {
		return &unstructured.UnstructuredList{}, nil
	}
	gvr := schema.GroupVersionResource{Group: k.group, Version: version, Resource: string(k.in)}
	list, err := l.c.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, opts)
	if apierrors.IsNotFound(err) {
		return &unstructured.UnstructuredList{}, nil
	}
	return list, err
}

// GrafanaLabel is the label by which Grafana's sidecar finds datasources, as
// its chart and kube-prometheus-stack set it.
const GrafanaLabel = "grafana_datasource"

// datasources adds the ConfigMaps with Grafana's label of other namespaces.
func (l *live) datasources(ctx context.Context) {
	if l.s.d.missing[ConfigMaps] != nil || !l.all && !l.may(ctx, Right{Verb: "list", Resource: string(ConfigMaps)}) {
		return
	}
	page, err := l.c.Kube.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{LabelSelector: GrafanaLabel, Limit: pageSize})
	if err != nil {
		return
	}
	for i := range page.Items {
		cm := &page.Items[i]
		if _, have := Find(list[corev1.ConfigMap](l.s, ConfigMaps), cm.Namespace, cm.Name); !have {
			l.s.d.objects[ConfigMaps] = append(l.s.d.objects[ConfigMaps], cm)
		}
	}
}

// scaleUps adds the events of a cluster autoscaler, which are no warnings, where
// a pod of a log stack waits for a node.
func (l *live) scaleUps(ctx context.Context) {
	waits := slices.ContainsFunc(list[corev1.Pod](l.s, Pods), func(p *corev1.Pod) bool {
		return p.Spec.NodeName == "" && p.Status.Phase == corev1.PodPending && ProductOf(p.Labels, &p.Spec) != ""
	})
	if !waits || l.s.d.missing[Events] != nil || l.s.d.scope[Events] != nil {
		return
	}
	page, err := l.c.Kube.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "reason=TriggeredScaleUp", Limit: pageSize})
	if err != nil {
		return // without them, the pod counts as one that nothing helps
	}
	for i := range page.Items {
		l.s.d.objects[Events] = append(l.s.d.objects[Events], &page.Items[i])
	}
}

func (l *live) rights(ctx context.Context) {
	s := l.s
	user := fmt.Sprintf("system:serviceaccount:%s:%s", s.Namespace, s.Name)
	for _, r := range CollectorNeeds {
		sar, err := l.c.Kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authv1.SubjectAccessReview{Spec: authv1.SubjectAccessReviewSpec{
			User: user, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + s.Namespace, "system:authenticated"},
			ResourceAttributes: attributes(r),
		}}, metav1.CreateOptions{})
		if err != nil {
			l.miss(CollectorRights, Right{Verb: "create", Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}, err)
			break
		}
		s.d.collectorRights[r] = sar.Status.Allowed
	}
	for _, r := range OwnNeeds(s.Namespace, s.Name) {
		sar, err := l.c.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authv1.SelfSubjectAccessReview{
			Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes(r)},
		}, metav1.CreateOptions{})
		if err != nil {
			l.miss(OwnRights, Right{Verb: "create", Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}, err)
			break
		}
		s.d.ownRights[r] = sar.Status.Allowed
	}
}

// runProbes asks our own stack, where it is there.
func (s *Snapshot) runProbes(ctx context.Context, p Probes) {
	if s.Missing(Server) != nil {
		return
	}
	_, have := Find(list[corev1.Service](s, Services), s.Namespace, s.Name)
	if p.Query == nil || !have && s.Missing(Services) == nil {
		for _, in := range []Input{Query, Arrival, Flow} {
			s.SetMissing(in, &Missing{Absent: true, Err: errors.New("our collector is not installed")})
		}
		return
	}
	s.d.query = p.Query(ctx)
	if s.d.query.Err != nil || p.Arrival == nil || p.Flow == nil {
		for _, in := range []Input{Arrival, Flow} {
			s.SetMissing(in, &Missing{Err: errors.New("the collector cannot be queried")})
		}
		return
	}
	s.d.arrival = p.Arrival(ctx)
	s.d.flow = p.Flow(ctx)
}

// clusterDomain reads CoreDNS's own configuration: `kubernetes cluster.local ...`.
func (s *Snapshot) clusterDomain(ctx context.Context, c *kube.Client) {
	cm, err := c.Kube.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return
	}
	for line := range strings.Lines(cm.Data["Corefile"]) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "kubernetes" {
			s.Domain, s.DomainFrom = strings.TrimSuffix(f[1], "."), "CoreDNS's Corefile"
			return
		}
	}
}
