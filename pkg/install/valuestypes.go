package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

const (
	// maxReplicas is far above what is useful: a replica follows ten thousand
	// containers.
	maxReplicas  = 50
	nodeFilesOff = "off"
)

// grafanaSource is how Grafana names a value that it reads itself.
var grafanaSource = regexp.MustCompile(`^\$__(env|file)\{[^{}\s]+\}$`)

// validateSecrets refuses credentials in the clear: a ConfigMap is no place for them.
func (g Grafana) validateSecrets(v Values, fail func(path, format string, args ...any)) {
	for _, s := range []struct{ path, value string }{{"grafana.token", g.Token}, {"grafana.ca", g.CA}} {
		if s.value != "" && !grafanaSource.MatchString(s.value) {
			fail(s.path, "it has to be where Grafana finds it: $__env{NAME} or $__file{PATH}")
		}
	}
	if g.Token != "" && v.Auth.SecretName == "" {
		fail("grafana.token", "without auth.secretName nobody asks for it")
	}
	if g.CA != "" && v.TLS.SecretName == "" {
		fail("grafana.ca", "without tls.secretName there is no certificate")
	}
}

// TLS names the certificate of the API.
type TLS struct {
	// SecretName "" serves plain HTTP. The Secret has tls.crt and tls.key, and
	// ca.crt where clients need one to trust it.
	SecretName string `json:"secretName"`
}

// Auth names the credentials that the API asks for.
type Auth struct {
	// SecretName "" asks for none; see values.yaml for the Secret's keys.
	SecretName string `json:"secretName"`
}

func (t TLS) validate(fail func(path, format string, args ...any)) {
	secretName(fail, "tls.secretName", t.SecretName)
}

func (a Auth) validate(fail func(path, format string, args ...any)) {
	secretName(fail, "auth.secretName", a.SecretName)
}

func secretName(fail func(path, format string, args ...any), path, name string) {
	if name == "" {
		return
	}
	if msgs := validation.IsDNS1123Subdomain(name); len(msgs) > 0 {
		fail(path, "%q: %s", name, msgs[0])
	}
}

// Auto is whether an object is made whose kind not every cluster has.
type Auto string

// The values of Auto.
const (
	AutoDetect Auto = "auto" // where the cluster knows the kind
	AutoOn     Auto = "true"
	AutoOff    Auto = "false"
)

// UnmarshalJSON takes true and false without quotes, too.
func (a *Auto) UnmarshalJSON(b []byte) error {
	*a = Auto(strings.Trim(string(b), `"`))
	return nil
}

// MarshalJSON prints true and false as people write them.
func (a Auto) MarshalJSON() ([]byte, error) {
	if b, err := strconv.ParseBool(string(a)); err == nil {
		return strconv.AppendBool(nil, b), nil
	}
	return json.Marshal(string(a))
}

func (a Auto) validate(path string, fail func(path, format string, args ...any)) {
	switch a {
	case AutoDetect, AutoOn, AutoOff:
	default:
		fail(path, "%q: auto, true or false", string(a))
	}
}

// resolve decides what is automatic by what the cluster knows. An export has no
// cluster to ask: Render leaves out what is still automatic.
func resolve(ctx context.Context, c *kube.Client, v Values, obs Observer) (Values, error) {
	g, note, err := resolveGrafana(ctx, c, v.Grafana)
	if err != nil {
		return v, err
	}
	if v.Grafana = g; note != "" {
		obs.note(note)
	}
	if g.wanted() && v.Auth.SecretName != "" {
		obs.note("Grafana's data source has no credentials, and the collector asks for those of secret/" + v.Auth.SecretName +
			": make one by hand, or grafana.enabled: false")
	}
	for _, a := range []struct {
		value *Auto
		kind  schema.GroupKind
	}{
		{&v.ServiceMonitor, schema.GroupKind{Group: "monitoring.coreos.com", Kind: "ServiceMonitor"}},
		{&v.AlertRules, schema.GroupKind{Group: "monitoring.coreos.com", Kind: "PrometheusRule"}},
	} {
		if *a.value != AutoDetect {
			continue
		}
		_, err := c.Mapper.RESTMapping(a.kind)
		switch {
		case err == nil:
			*a.value = AutoOn
		case meta.IsNoMatchError(err):
			*a.value = AutoOff
		default:
			return v, kube.Explain(err)
		}
	}
	return v, nil
}

// Limits are limits of what is pushed, under the names of Loki's limits_config.
type Limits map[string]any

// UnmarshalJSON keeps whole numbers whole: as floats, large ones would be
// printed with an exponent, which is no number of bytes.
func (l *Limits) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return err
	}
	if *l == nil {
		*l = Limits{}
	} else {
		*l = maps.Clone(*l)
	}
	for key, value := range m {
		(*l)[key] = plainNumbers(value)
	}
	return nil
}

func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for key, child := range v {
			v[key] = plainNumbers(child)
		}
	case []any:
		for i, child := range v {
			v[i] = plainNumbers(child)
		}
	}
	return v
}

// file is the file for the collector's --limits; nil without any limit.
func (l Limits) file() ([]byte, error) {
	if len(l) == 0 {
		return nil, nil
	}
	return sigsyaml.Marshal(map[string]any(l))
}

// validate reads the limits as the collector will, first each alone, so that
// an error has the place of its key.
func (l Limits) validate(fail func(path, format string, args ...any)) {
	bad := false
	for _, key := range slices.Sorted(maps.Keys(l)) {
		path := "limits." + key
		if !slices.Contains(lokiapi.LimitNames(), key) {
			bad = true
			near := nearest(key, lokiapi.LimitNames())
			if near == "" {
				fail(path, "unknown limit; there are %s", strings.Join(lokiapi.LimitNames(), ", "))
			} else {
				fail(path, "unknown limit; did you mean limits.%s?", near)
			}
			continue
		}
		if err := (Limits{key: l[key]}).parse(); err != nil {
			bad = true
			fail(path, "%s", limitMessage(err, key))
		}
	}
	if bad {
		return
	}
	// What only shows in company.
	if err := l.parse(); err != nil {
		fail("limits", "%v", err)
	}
}

func (l Limits) parse() error {
	text, err := l.file()
	if err != nil {
		return err
	}
	limits := lokiapi.DefaultLimits()
	return lokiapi.ParseLimits(text, &limits)
}

// limitMessage takes off what the path says already, and Go's names.
func limitMessage(err error, key string) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Sprintf("a %s is no value for it", kind.Value)
	}
	msg, _, _ := strings.Cut(err.Error(), ": known keys are ")
	msg = strings.TrimPrefix(msg, "error unmarshaling JSON: while decoding JSON: ")
	return strings.TrimPrefix(strings.TrimPrefix(msg, key+": "), key+" ")
}
