package lokiapi

import (
	"errors"
	"fmt"
	"regexp"
)

// OTLPConfig says what becomes of the attributes of OpenTelemetry's logs: a
// label of the stream, structured metadata (the default), or nothing. Its JSON
// form is that of Loki's otlp_config.
type OTLPConfig struct {
	ResourceAttributes OTLPResourceConfig `json:"resource_attributes"`
	// ScopeAttributes cannot become labels.
	ScopeAttributes []OTLPRule `json:"scope_attributes"`
	LogAttributes   []OTLPRule `json:"log_attributes"`
	// SeverityTextAsLabel makes severity_text a label of the stream.
	SeverityTextAsLabel bool `json:"severity_text_as_label"`
}

// OTLPResourceConfig is for attributes of resources.
type OTLPResourceConfig struct {
	// IgnoreDefaults leaves the attributes of [DefaultOTLPLabels] to the rules.
	IgnoreDefaults bool       `json:"ignore_defaults"`
	Rules          []OTLPRule `json:"attributes_config"`
}

// OTLPRule is for the attributes of these names, or for those whose whole name
// matches Regex. Names count before expressions, and those in their order.
type OTLPRule struct {
	Action     OTLPAction `json:"action"`
	Attributes []string   `json:"attributes"`
	Regex      string     `json:"regex"`
}

// OTLPAction is what becomes of an attribute.
type OTLPAction string

// The actions of rules.
const (
	OTLPLabel    OTLPAction = "index_label"
	OTLPMetadata OTLPAction = "structured_metadata"
	OTLPDrop     OTLPAction = "drop"
)

// DefaultOTLPLabels are the attributes of a resource that become labels of the
// stream, as in Loki.
func DefaultOTLPLabels() []string {
	return []string{
		"service.name", "service.namespace", "service.instance.id",
		"deployment.environment", "deployment.environment.name",
		"cloud.region", "cloud.availability_zone",
		"k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name", "container.name",
		"k8s.replicaset.name", "k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name",
		"k8s.cronjob.name", "k8s.job.name",
	}
}

// Validate reports all that is wrong.
func (c *OTLPConfig) Validate() error {
	_, err := c.compile()
	return err
}

// otlpRules is an OTLPConfig ready for use.
type otlpRules struct {
	resource, scope, record attributeRules
	severityLabel           bool
}

// attributeRules finds the action for an attribute.
type attributeRules struct {
	names    map[string]OTLPAction
	patterns []patternRule
	defaults map[string]OTLPAction
}

type patternRule struct {
	regex  *regexp.Regexp
	action OTLPAction
}

func (r *attributeRules) action(name string) OTLPAction {
	if a, ok := r.names[name]; ok {
		return a
	}
	for _, p := range r.patterns {
		if p.regex.MatchString(name) {
			return p.action
		}
	}
	if a, ok := r.defaults[name]; ok {
		return a
	}
	return OTLPMetadata
}

func (c *OTLPConfig) compile() (*otlpRules, error) {
	r := &otlpRules{severityLabel: c.SeverityTextAsLabel}
	err := errors.Join(
		r.resource.compile("resource_attributes.attributes_config", c.ResourceAttributes.Rules, true),
		r.scope.compile("scope_attributes", c.ScopeAttributes, false),
		r.record.compile("log_attributes", c.LogAttributes, true),
	)
	if !c.ResourceAttributes.IgnoreDefaults {
		r.resource.defaults = map[string]OTLPAction{}
		for _, name := range DefaultOTLPLabels() {
			r.resource.defaults[name] = OTLPLabel
		}
	}
	return r, err
}

func (c *OTLPConfig) mustCompile() *otlpRules {
	r, err := c.compile()
	if err != nil {
		panic(fmt.Sprintf("BUG: Limits.OTLP was not validated: %v", err))
	}
	return r
}

// compile adds the rules of one list; where names it for errors.
func (r *attributeRules) compile(where string, rules []OTLPRule, labels bool) error {
	var errs []error
	r.names = map[string]OTLPAction{}
	for i, rule := range rules {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s[%d]: "+format, append([]any{where, i}, args...)...))
		}
		switch rule.Action {
		case OTLPMetadata, OTLPDrop:
		case OTLPLabel:
			if !labels {
				fail("attributes of a scope cannot become labels: use %s or %s", OTLPMetadata, OTLPDrop)
			}
		default:
			fail("unknown action %q: use %s, %s or %s", rule.Action, OTLPLabel, OTLPMetadata, OTLPDrop)
		}
		if (len(rule.Attributes) == 0) == (rule.Regex == "") {
			fail("give either attributes or regex")
		}
		for _, name := range rule.Attributes {
			if _, ok := r.names[name]; !ok { // the first rule counts
				r.names[name] = rule.Action
			}
		}
		if rule.Regex == "" {
			continue
		}
		re, err := regexp.Compile("^(?:" + rule.Regex + ")$")
		if err != nil {
			fail("%w", err)
			continue
		}
		r.patterns = append(r.patterns, patternRule{regex: re, action: rule.Action})
	}
	return errors.Join(errs...)
}
