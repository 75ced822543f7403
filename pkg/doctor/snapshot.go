package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Part is a piece of the snapshot that a check can need.
type Part string

// The parts.
const (
	PartServer     Part = "the API server"
	PartWorkload   Part = "the StatefulSet"
	PartPods       Part = "pods"
	PartEvents     Part = "events"
	PartService    Part = "the Service"
	PartEndpoints  Part = "EndpointSlices"
	PartCollectors Part = "the collector's rights"
	PartOwn        Part = "your own rights"
	PartQuery      Part = "the query API"
	PartArrival    Part = "the arrival of a line"
)

// Right is one thing that a subject wants to do.
type Right struct {
	Verb, Group, Resource, Subresource, Namespace, Name string
}

func (r Right) String() string {
	res := r.Resource
	if r.Subresource != "" {
		res += "/" + r.Subresource
	}
	return r.Verb + " " + res
}

// Snapshot is what the checks look at. It is built once and never changed.
type Snapshot struct {
	Taken     time.Time
	Context   string // kubeconfig context
	Namespace string // of the stack
	Name      string // of StatefulSet, Service and ServiceAccount

	Version     *apiversion.Info
	StatefulSet *appsv1.StatefulSet
	Pods        []corev1.Pod // those of the StatefulSet
	Events      []corev1.Event
	Service     *corev1.Service
	Slices      []discoveryv1.EndpointSlice

	// CollectorRights and OwnRights say per right whether it is there.
	CollectorRights map[Right]bool
	OwnRights       map[Right]bool

	Query   *QueryResult
	Arrival *ArrivalResult

	// Missing holds the parts that could not be read, with the reason: an
	// error of the API server, or an earlier part that failed.
	Missing map[Part]error
}

// QueryResult is how the way from here to the collector went.
type QueryResult struct {
	Via  string // how it was reached
	Note string
	Err  error // nil: it answers and is ready
}

// ArrivalResult is the fate of a line that the collector was asked to write.
type ArrivalResult struct {
	After time.Duration // from writing to being found by a query
	Err   error         // nil: it arrived
}

// Probes reach into the running stack. They are given by the caller, because a
// snapshot of files has none. A nil probe leaves its part missing.
type Probes struct {
	Query   func(context.Context) *QueryResult
	Arrival func(context.Context) *ArrivalResult
}

var errNotReached = errors.New("the API server was not reached")

// CollectorNeeds are the rights without which the collector reads no logs.
var CollectorNeeds = []Right{
	{Verb: "get", Resource: "pods"},
	{Verb: "list", Resource: "pods"},
	{Verb: "watch", Resource: "pods"},
	{Verb: "get", Resource: "pods", Subresource: "log"},
}

// ownNeeds are the rights with which a person can query: one is enough.
func ownNeeds(namespace, service string) []Right {
	return []Right{
		{Verb: "get", Resource: "services", Subresource: "proxy", Namespace: namespace, Name: "http:" + service + ":http"},
		{Verb: "create", Resource: "pods", Subresource: "portforward", Namespace: namespace},
	}
}

// Load reads the live cluster. It fails only when ctx ends: whatever cannot be
// read is a missing part.
func Load(ctx context.Context, c *kube.Client, namespace, name string, probes Probes) (*Snapshot, error) {
	s := &Snapshot{
		Taken: time.Now(), Context: c.Context, Namespace: namespace, Name: name,
		CollectorRights: map[Right]bool{}, OwnRights: map[Right]bool{}, Missing: map[Part]error{},
	}
	v, err := serverVersion(ctx, c)
	if err != nil {
		s.Missing[PartServer] = kube.Explain(err)
		for _, p := range []Part{PartWorkload, PartPods, PartEvents, PartService, PartEndpoints, PartCollectors, PartOwn, PartQuery, PartArrival} {
			s.Missing[p] = errNotReached
		}
		return s, ctx.Err()
	}
	s.Version = v
	s.loadObjects(ctx, c)
	s.loadRights(ctx, c)
	s.runProbes(ctx, probes)
	return s, ctx.Err()
}

// serverVersion asks with the context: discovery's own method waits ten seconds
// for a silent server even after Ctrl-C. Fakes have no REST client.
func serverVersion(ctx context.Context, c *kube.Client) (*apiversion.Info, error) {
	rc := c.Kube.Discovery().RESTClient()
	if rc == nil {
		return c.Kube.Discovery().ServerVersion()
	}
	body, err := rc.Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var v apiversion.Info
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("the answer of /version is not Kubernetes's: %w", err)
	}
	return &v, nil
}

func (s *Snapshot) loadObjects(ctx context.Context, c *kube.Client) {
	var err error
	s.StatefulSet, err = c.Kube.AppsV1().StatefulSets(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
	if s.failed(PartWorkload, err) {
		s.StatefulSet = nil
	}
	s.Service, err = c.Kube.CoreV1().Services(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
	if s.failed(PartService, err) {
		s.Service = nil
	}
	if pods, err := c.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + s.Name}); !s.failed(PartPods, err) && pods != nil {
		s.Pods = pods.Items
	}
	if events, err := c.Kube.CoreV1().Events(s.Namespace).List(ctx, metav1.ListOptions{}); !s.failed(PartEvents, err) && events != nil {
		s.Events = events.Items
	}
	if slices, err := c.Kube.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name}); !s.failed(PartEndpoints, err) && slices != nil {
		s.Slices = slices.Items
	}
}

// failed remembers a refused read. An object that is not there is no failure:
// checks see nil. It returns whether there is nothing to use.
func (s *Snapshot) failed(p Part, err error) bool {
	if err == nil {
		return false
	}
	if !apierrors.IsNotFound(err) {
		s.Missing[p] = kube.Explain(err)
	}
	return true
}

func (s *Snapshot) loadRights(ctx context.Context, c *kube.Client) {
	user := fmt.Sprintf("system:serviceaccount:%s:%s", s.Namespace, s.Name)
	for _, r := range CollectorNeeds {
		sar, err := c.Kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authv1.SubjectAccessReview{Spec: authv1.SubjectAccessReviewSpec{
			User: user, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + s.Namespace, "system:authenticated"},
			ResourceAttributes: attributes(r),
		}}, metav1.CreateOptions{})
		if err != nil {
			s.Missing[PartCollectors] = kube.Explain(err)
			break
		}
		s.CollectorRights[r] = sar.Status.Allowed
	}
	for _, r := range ownNeeds(s.Namespace, s.Name) {
		sar, err := c.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: attributes(r),
		}}, metav1.CreateOptions{})
		if err != nil {
			s.Missing[PartOwn] = kube.Explain(err)
			break
		}
		s.OwnRights[r] = sar.Status.Allowed
	}
}

func attributes(r Right) *authv1.ResourceAttributes {
	return &authv1.ResourceAttributes{Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name}
}

func (s *Snapshot) runProbes(ctx context.Context, p Probes) {
	if p.Query == nil || s.Service == nil && s.Missing[PartService] == nil {
		s.Missing[PartQuery] = errors.New("there is nothing to ask")
		s.Missing[PartArrival] = s.Missing[PartQuery]
		return
	}
	s.Query = p.Query(ctx)
	if s.Query.Err != nil || p.Arrival == nil {
		s.Missing[PartArrival] = errors.New("the collector cannot be queried")
		return
	}
	s.Arrival = p.Arrival(ctx)
}
