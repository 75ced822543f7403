package snapshot

import (
	"fmt"
	"slices"
	"strings"
)

// Input names a piece of the snapshot.
type Input string

// The inputs. Those of objects are listed from the API server (or found in
// files); the last ones are derived or asked for in other ways.
const (
	Server Input = "the API server" // answers at all; its version

	Namespaces       Input = "namespaces"
	Nodes            Input = "nodes"
	Pods             Input = "pods"
	Services         Input = "services"
	EndpointSlices   Input = "endpointslices"
	Events           Input = "events" // warnings only
	ConfigMaps       Input = "configmaps"
	Secrets          Input = "secrets" // only those that log stacks use
	ServiceAccounts  Input = "serviceaccounts"
	Claims           Input = "persistentvolumeclaims"
	StorageClasses   Input = "storageclasses"
	DaemonSets       Input = "daemonsets"
	Deployments      Input = "deployments"
	StatefulSets     Input = "statefulsets"
	Jobs             Input = "jobs"
	CronJobs         Input = "cronjobs"
	NetworkPolicies  Input = "networkpolicies"
	Ingresses        Input = "ingresses"
	Roles            Input = "roles"
	RoleBindings     Input = "rolebindings"
	ClusterRoles     Input = "clusterroles"
	ClusterBindings  Input = "clusterrolebindings"
	Webhooks         Input = "validatingwebhookconfigurations"
	Leases           Input = "leases" // those of nodes
	HelmReleases     Input = "helmreleases"
	Kustomizations   Input = "kustomizations"
	HelmRepositories Input = "helmrepositories"
	OCIRepositories  Input = "ocirepositories"
	Applications     Input = "applications"

	Releases   Input = "releases"                 // charts and values, from all sources
	Collectors Input = "collector configurations" // Alloy, Promtail, Fluent Bit, Vector
	Stacks     Input = "log stack workloads"      // workloads of known log products

	OwnRights       Input = "your own rights"
	CollectorRights Input = "the collector's rights"
	Query           Input = "the query API"
	Arrival         Input = "the arrival of a line"
	Flow            Input = "the lines stored lately"
	StackMetrics    Input = "the metrics of the stack"
	Logs            Input = "the logs of the stack"
	Volumes         Input = "the use of volumes"
	Inside          Input = "the view from inside the cluster" // only with --probe
	InstallRights   Input = "your rights to install"           // only with --pre
	Discovery       Input = "API discovery"
)

// Right is one thing that a subject wants to do. An empty namespace is the
// whole cluster.
type Right struct {
	Verb, Group, Resource, Subresource, Namespace, Name string
}

func (r Right) String() string {
	res := r.Resource
	if r.Group != "" {
		res += "." + r.Group
	}
	if r.Subresource != "" {
		res += "/" + r.Subresource
	}
	s := r.Verb + " " + res
	if r.Namespace != "" {
		s += " in namespace " + r.Namespace
	}
	return s
}

// Missing says why an input is not there.
type Missing struct {
	// Right is what lacks, when a right lacks.
	Right *Right
	// Offline is true when no cluster was asked and no file had it.
	Offline bool
	// Absent is true when there is nothing of the kind to look at.
	Absent bool
	// Err is any other reason.
	Err error
}

func (m *Missing) Error() string {
	switch {
	case m.Right != nil:
		return "need " + m.Right.String()
	case m.Err != nil:
		return m.Err.Error()
	}
	return "not among the files, and no cluster was asked"
}

func (m *Missing) Unwrap() error { return m.Err }

// Ref says where something is: an object, a place inside of it, and the place
// in a file when it came from one. Lines and columns count from 1; 0 is unknown.
type Ref struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Path      string `json:"path,omitempty"` // field, values key or data key
	File      string `json:"file,omitempty"`
	// In is a command whose output Line and Column count in, where there is no
	// file: the values of a release that Helm keeps.
	In     string `json:"in,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// Object is kind/namespace/name in lower-case kind, as kubectl names things.
func (r Ref) Object() string {
	if r.Kind == "" {
		return ""
	}
	parts := []string{strings.ToLower(r.Kind)}
	for _, p := range []string{r.Namespace, r.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}

// String is file:line:column where there is a file, else the object, then the
// path inside, and the line of the command's output that shows it.
func (r Ref) String() string {
	s := r.Object()
	pos := ""
	if r.Line > 0 {
		pos = fmt.Sprintf(":%d", r.Line)
		if r.Column > 0 {
			pos += fmt.Sprintf(":%d", r.Column)
		}
	}
	switch {
	case r.File != "":
		s, pos = r.File+pos, ""
	case r.In != "" && r.Line > 0:
		pos = fmt.Sprintf(" (line %d of %s)", r.Line, r.In)
	}
	if r.Path != "" {
		if s != "" {
			s += " "
		}
		s += r.Path
	}
	return s + pos
}

// WithPath returns the Ref with another path.
func (r Ref) WithPath(path string) Ref {
	r.Path = path
	return r
}

// tracker remembers what a check read beyond its declaration.
type tracker struct {
	allowed    []Input
	undeclared []Input
}

func (t *tracker) touch(in Input) {
	if t != nil && !slices.Contains(t.allowed, in) && !slices.Contains(t.undeclared, in) {
		t.undeclared = append(t.undeclared, in)
	}
}
