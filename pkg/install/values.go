package install

import (
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// Name is the name of everything that an installation creates in its namespace.
const Name = "logstack"

// Command is a command of ours that acts on the installation in a namespace, for
// printed advice: pasted, it must not act on another installation.
func Command(namespace, args string) string {
	c := "kubectl logstack " + args
	if namespace != Name {
		c += " -n " + namespace
	}
	return c
}

// Port is the Service's port name.
const Port = "http"

// DefaultValuesFile is the values file with every key, its default and what it
// means. ParseValues of it gives DefaultValues.
//
//go:embed values.yaml
var DefaultValuesFile []byte

// Values are what a person may choose, as a values file has them: see
// values.yaml for what each means. The zero value is not usable: start from
// DefaultValues.
type Values struct {
	Namespace string `json:"namespace"`
	Replicas  int32  `json:"replicas"`
	Image     Image  `json:"image"`
	// Namespaces to collect from; empty means all of the cluster.
	Namespaces     []string            `json:"namespaces,omitempty"`
	Events         bool                `json:"events"`
	Lifecycle      bool                `json:"lifecycle"`
	NodeFiles      string              `json:"nodeFiles"`
	Storage        Storage             `json:"storage"`
	Retention      string              `json:"retention"`
	Limits         Limits              `json:"limits,omitempty"`
	Resources      Resources           `json:"resources"`
	NodeSelector   map[string]string   `json:"nodeSelector,omitempty"`
	Tolerations    []corev1.Toleration `json:"tolerations,omitempty"`
	PriorityClass  string              `json:"priorityClass"`
	NetworkPolicy  bool                `json:"networkPolicy"`
	TLS            TLS                 `json:"tls"`
	Auth           Auth                `json:"auth"`
	ServiceMonitor Auto                `json:"serviceMonitor"`
	AlertRules     Auto                `json:"alertRules"`
	Grafana        Grafana             `json:"grafana"`
}

// Image says where nodes find the collector.
type Image struct {
	// Registry, when set, stands in for the registry of Repository: a mirror.
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	// Tag "" is this program's own version.
	Tag string `json:"tag"`
	// Digest wins over the tag.
	Digest      string   `json:"digest"`
	PullPolicy  string   `json:"pullPolicy"`
	PullSecrets []string `json:"pullSecrets,omitempty"`
}

// Storage is where the collector keeps its data.
type Storage struct {
	// Size is a Kubernetes quantity; the collector keeps below 80 % of it.
	Size string `json:"size"`
	// Class "" is the cluster's default class.
	Class     string `json:"class"`
	Ephemeral bool   `json:"ephemeral"`
}

// Resources are Kubernetes quantities: what the container asks for, and what
// ends it.
type Resources struct {
	CPU    string `json:"cpu"`
	Memory string `json:"memory"`
}

// Grafana says where the sidecar of a Grafana finds data sources. What is empty
// is found out, see resolveGrafana.
type Grafana struct {
	// Enabled AutoDetect is: where one Grafana with a sidecar runs.
	Enabled Auto `json:"enabled"`
	// Namespace "" makes nothing where no cluster can be asked.
	Namespace  string `json:"namespace"`
	Label      string `json:"label"`
	LabelValue string `json:"labelValue"`
	// Token and CA say where Grafana finds the collector's credential and the
	// authority of its certificate: $__env{NAME} or $__file{PATH}.
	Token      string     `json:"token"`
	CA         string     `json:"ca"`
	Dashboards Dashboards `json:"dashboards"`
}

// Dashboards says where the sidecar of a Grafana finds dashboards.
type Dashboards struct {
	Enabled bool `json:"enabled"`
	// Namespace "" is that of the data source.
	Namespace  string `json:"namespace"`
	Label      string `json:"label"`
	LabelValue string `json:"labelValue"`
}

// Keys are the paths of all values that hold no others, in the order of
// values.yaml.
func Keys() []string {
	all := allKeys(valuesType, "")
	return slices.DeleteFunc(all, func(key string) bool {
		return slices.ContainsFunc(all, func(other string) bool { return strings.HasPrefix(other, key+".") })
	})
}

// Ref is the reference that goes into the pod.
func (i Image) Ref() string {
	name := i.Repository
	if i.Registry != "" {
		name = strings.TrimSuffix(i.Registry, "/") + "/" + pathOf(name)
	}
	if i.Digest != "" {
		return name + "@" + i.Digest
	}
	tag := i.Tag
	if tag == "" {
		tag = version.Version
	}
	return name + ":" + tag
}

// pathOf is a repository without its registry. As for container runtimes, what
// stands before the first slash is a registry if it has a dot or a colon or is
// localhost.
func pathOf(repository string) string {
	host, path, found := strings.Cut(repository, "/")
	if found && (strings.ContainsAny(host, ".:") || host == "localhost") {
		return path
	}
	return repository
}

// SetRef takes repository, tag and digest from a reference such as
// registry.example/collector:v1 or registry.example/collector@sha256:….
func (i *Image) SetRef(ref string) {
	i.Registry, i.Tag, i.Digest = "", "", ""
	ref, digest, found := strings.Cut(ref, "@")
	if found {
		i.Digest = digest
	}
	// A colon before the last slash is a port.
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		ref, i.Tag = ref[:colon], ref[colon+1:]
	}
	i.Repository = ref
}

// DefaultValues suit a small cluster.
func DefaultValues() Values {
	return Values{
		Replicas: 1, Events: true, Lifecycle: true, NodeFiles: nodeFilesOff,
		Namespace:      Name,
		Image:          Image{Repository: version.Image, PullPolicy: string(corev1.PullIfNotPresent)},
		Storage:        Storage{Size: "10Gi"},
		Retention:      "7d",
		Resources:      Resources{CPU: "50m", Memory: "256Mi"},
		NetworkPolicy:  true,
		ServiceMonitor: AutoDetect, AlertRules: AutoDetect,
		Grafana: Grafana{Enabled: AutoDetect, Dashboards: Dashboards{Enabled: true}},
	}
}

// diskShare is the part of the volume that the collector may fill: file systems
// slow down and others' metadata needs room before a volume is full.
const diskShare = 0.8

var (
	// minMemory is the least container limit under which the collector works.
	minMemory = resource.MustParse("64Mi")
	minSize   = resource.MustParse("64Mi")
	// The forms of https://github.com/distribution/reference, as far as a typing
	// error is concerned: the node has the last word.
	repositoryForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	registryForm   = regexp.MustCompile(`^([a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+(:[0-9]+)?|[a-zA-Z0-9-]+:[0-9]+|localhost)(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	tagForm        = regexp.MustCompile(`^\w[\w.-]{0,127}$`)
	digestForm     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// Validate reports everything that is wrong at once. Each error begins with
// the path of the value.
func (v Values) Validate() error {
	var errs []error
	fail := func(path, format string, args ...any) {
		errs = append(errs, &ValueError{Path: path, Msg: fmt.Sprintf(format, args...)})
	}
	if msgs := validation.IsDNS1123Label(v.Namespace); len(msgs) > 0 {
		fail("namespace", "%q: %s", v.Namespace, msgs[0])
	}
	if v.Replicas < 1 || v.Replicas > maxReplicas {
		fail("replicas", "%d: 1 to %d", v.Replicas, maxReplicas)
	}
	v.Image.validate(fail)
	switch v.NodeFiles {
	case nodeFilesOff:
	case "backfill", "all":
		if len(v.Namespaces) > 0 {
			fail("nodeFiles", "files of nodes hold the logs of all namespaces: with namespaces it has to be off")
		}
	default:
		fail("nodeFiles", "%q: off, backfill or all", v.NodeFiles)
	}
	for i, ns := range v.Namespaces {
		path := fmt.Sprintf("namespaces[%d]", i)
		if msgs := validation.IsDNS1123Label(ns); len(msgs) > 0 {
			fail(path, "%q: %s", ns, msgs[0])
		} else if slices.Index(v.Namespaces, ns) < i {
			fail(path, "%q is given twice", ns)
		}
	}
	v.Storage.validate(fail)
	v.Limits.validate(fail)
	if _, err := parseRetention(v.Retention); err != nil {
		fail("retention", "%v", err)
	}
	quantity(fail, "resources.cpu", v.Resources.CPU, "100m", resource.MustParse("1m"))
	quantity(fail, "resources.memory", v.Resources.Memory, "256Mi", minMemory)
	for key, value := range v.NodeSelector {
		for _, msg := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...) {
			fail("nodeSelector", "%s=%s: %s", key, value, msg)
		}
	}
	for i, t := range v.Tolerations {
		path := fmt.Sprintf("tolerations[%d]", i)
		if t.Key == "" && t.Operator != corev1.TolerationOpExists {
			fail(path, "without a key the operator must be Exists")
		}
		if t.Key != "" {
			for _, e := range metav1validation.ValidateLabelName(t.Key, field.NewPath("key")) {
				fail(path, "%s", e.Detail)
			}
		}
		switch t.Operator {
		case "", corev1.TolerationOpEqual, corev1.TolerationOpExists:
		default:
			fail(path, "operator %q: Exists or Equal", t.Operator)
		}
		switch t.Effect {
		case "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			fail(path, "effect %q: NoSchedule, PreferNoSchedule or NoExecute", t.Effect)
		}
	}
	if v.PriorityClass != "" {
		if msgs := validation.IsDNS1123Subdomain(v.PriorityClass); len(msgs) > 0 {
			fail("priorityClass", "%q: %s", v.PriorityClass, msgs[0])
		}
	}
	v.TLS.validate(fail)
	v.Auth.validate(fail)
	v.ServiceMonitor.validate("serviceMonitor", fail)
	v.AlertRules.validate("alertRules", fail)
	v.Grafana.validate(fail)
	v.Grafana.validateSecrets(v, fail)
	return errors.Join(errs...)
}

func (g Grafana) validate(fail func(path, format string, args ...any)) {
	g.Enabled.validate("grafana.enabled", fail)
	place := func(path, namespace, label, value string) {
		if msgs := validation.IsDNS1123Label(namespace); namespace != "" && len(msgs) > 0 {
			fail(path+".namespace", "%q: %s", namespace, msgs[0])
		}
		if msgs := validation.IsQualifiedName(label); label != "" && len(msgs) > 0 {
			fail(path+".label", "%q: %s", label, msgs[0])
		}
		if msgs := validation.IsValidLabelValue(value); len(msgs) > 0 {
			fail(path+".labelValue", "%q: %s", value, msgs[0])
		}
	}
	place("grafana", g.Namespace, g.Label, g.LabelValue)
	place("grafana.dashboards", g.Dashboards.Namespace, g.Dashboards.Label, g.Dashboards.LabelValue)
}

func (i Image) validate(fail func(path, format string, args ...any)) {
	if i.Registry != "" && !registryForm.MatchString(i.Registry) {
		fail("image.registry", "%q is not a registry such as registry.example:5000 or registry.example/mirror", i.Registry)
	}
	switch {
	case i.Repository == "":
		fail("image.repository", "is empty")
	case !repositoryForm.MatchString(i.Repository):
		fail("image.repository", "%q is not a name such as %s; tag and digest have keys of their own", i.Repository, version.Image)
	}
	if i.Tag != "" && !tagForm.MatchString(i.Tag) {
		fail("image.tag", "%q is not a tag", i.Tag)
	}
	if i.Digest != "" && !digestForm.MatchString(i.Digest) {
		fail("image.digest", "%q is not sha256: and 64 hexadecimal digits", i.Digest)
	}
	switch corev1.PullPolicy(i.PullPolicy) {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		fail("image.pullPolicy", "%q: Always, IfNotPresent or Never", i.PullPolicy)
	}
	for n, s := range i.PullSecrets {
		if msgs := validation.IsDNS1123Subdomain(s); len(msgs) > 0 {
			fail(fmt.Sprintf("image.pullSecrets[%d]", n), "%q: %s", s, msgs[0])
		}
	}
}

func (s Storage) validate(fail func(path, format string, args ...any)) {
	if s.Class != "" {
		if s.Ephemeral {
			fail("storage.class", "an ephemeral volume has no storage class: leave one of them out")
		}
		if msgs := validation.IsDNS1123Subdomain(s.Class); len(msgs) > 0 {
			fail("storage.class", "%q: %s", s.Class, msgs[0])
		}
	}
	quantity(fail, "storage.size", s.Size, "10Gi", minSize)
}

func quantity(fail func(path, format string, args ...any), path, value, example string, least resource.Quantity) {
	q, err := resource.ParseQuantity(value)
	switch {
	case err != nil:
		fail(path, "%q is not a quantity such as %s", value, example)
	case q.Cmp(least) < 0:
		fail(path, "%s is too small: %s is the least", value, least.String())
	}
}

func parseRetention(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 7d or 12h", s)
	}
	return time.Duration(d), nil
}
