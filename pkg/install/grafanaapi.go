package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// GrafanaAPI is a Grafana that is told over HTTP, for those without a sidecar and
// those outside of the cluster. The token is of a service account that may write
// data sources and dashboards (the role Admin has both).
type GrafanaAPI struct {
	// URL is its address, with the path under which it is served.
	URL string
	// Token is sent as Bearer, and appears in no error.
	Token string
	// Source is the address of the collector as Grafana sees it; "" is that of the
	// Service in the cluster.
	Source string
	// Client is http.DefaultClient if nil.
	Client *http.Client
}

// Validate looks at the addresses and the token. What is wrong is not quoted: an
// address may have a password in it.
func (g *GrafanaAPI) Validate() error {
	for _, a := range []struct{ what, text string }{{"Grafana", g.URL}, {"the data source", g.Source}} {
		if a.text == "" && a.what != "Grafana" {
			continue
		}
		u, err := url.Parse(a.text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("the URL of %s is not http:// or https:// and a host", a.what)
		}
		if u.User != nil {
			return fmt.Errorf("the URL of %s has a user in it: use a token of a service account", a.what)
		}
	}
	if g.Token == "" {
		return errors.New("there is no token for Grafana")
	}
	if strings.ContainsAny(g.Token, " \t\r\n") {
		return errors.New("the token for Grafana has blanks or more than one line")
	}
	return nil
}

// Add makes or renews the data source of an installation and the dashboards. What
// the sidecar has brought is left as it is: Grafana does not let it be changed.
func (g *GrafanaAPI) Add(ctx context.Context, v Values, obs Observer) error {
	if err := g.Validate(); err != nil {
		return err
	}
	if err := g.addSource(ctx, v, obs); err != nil {
		return err
	}
	if !v.Grafana.Dashboards.Enabled {
		return nil
	}
	boards, err := dashboardFiles(v)
	if err != nil {
		return err
	}
	for _, d := range boards {
		if err := g.addDashboard(ctx, d, obs); err != nil {
			return err
		}
	}
	return nil
}

// provisioned is what Grafana answers of an object that a file has brought.
const provisioned kube.Change = "is provisioned by a file: left as it is"

func (g *GrafanaAPI) addSource(ctx context.Context, v Values, obs Observer) error {
	source, err := sourceForAPI(v)
	if err != nil {
		return err
	}
	if g.Source != "" {
		source["url"] = g.Source
	}
	object := fmt.Sprintf("grafana data source %s", source["name"])
	path := "/api/datasources/uid/" + url.PathEscape(sourceUID(v))
	var now struct {
		ReadOnly bool `json:"readOnly"`
	}
	err = g.call(ctx, http.MethodGet, path, nil, &now)
	var answer *grafanaError
	change := kube.Configured
	switch {
	case errors.As(err, &answer) && answer.code == http.StatusNotFound:
		change = kube.Created
		err = g.call(ctx, http.MethodPost, "/api/datasources", source, nil)
	case err != nil:
	case now.ReadOnly:
		change = provisioned
	default:
		err = g.call(ctx, http.MethodPut, path, source, nil)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	obs.applied(object, change)
	return nil
}

// sourceForAPI is the data source of the ConfigMap in the API's form, whose keys
// are the same.
func sourceForAPI(v Values) (map[string]any, error) {
	v.Grafana.Enabled, v.Grafana.Namespace = AutoOn, Name // anywhere: only the text is used
	objs, err := Render(v)
	if err != nil {
		return nil, err
	}
	for _, o := range objs {
		if !strings.HasPrefix(o.GetName(), datasourceName) {
			continue
		}
		text, _, err := unstructured.NestedString(o.Object, "data", o.GetName()+".yaml")
		if err != nil {
			return nil, err
		}
		var file struct{ Datasources []map[string]any }
		if err := yaml.Unmarshal([]byte(text), &file); err != nil || len(file.Datasources) != 1 {
			return nil, fmt.Errorf("BUG: configmap/%s: %d data sources, %w", o.GetName(), len(file.Datasources), err)
		}
		return file.Datasources[0], nil
	}
	return nil, errors.New("BUG: no data source was rendered")
}

func (g *GrafanaAPI) addDashboard(ctx context.Context, d dashboard, obs Observer) error {
	var board map[string]any
	if err := json.Unmarshal(d.text, &board); err != nil {
		return fmt.Errorf("BUG: dashboard %s: %w", d.name, err)
	}
	object := fmt.Sprintf("grafana dashboard %s", board["title"])
	var now struct{ Meta struct{ Provisioned bool } }
	err := g.call(ctx, http.MethodGet, "/api/dashboards/uid/"+url.PathEscape(fmt.Sprint(board["uid"])), nil, &now)
	var answer *grafanaError
	change := kube.Configured
	if errors.As(err, &answer) && answer.code == http.StatusNotFound {
		change, err = kube.Created, nil
	}
	switch {
	case err != nil:
	case now.Meta.Provisioned:
		change = provisioned
	default:
		// The id is Grafana's own; null lets it find the dashboard by its uid.
		board["id"] = nil
		delete(board, "version")
		err = g.call(ctx, http.MethodPost, "/api/dashboards/db", map[string]any{
			"dashboard": board, "overwrite": true, "message": "kubectl logstack install",
		}, nil)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	obs.applied(object, change)
	return nil
}

// grafanaError is an answer that is no success.
type grafanaError struct {
	code    int
	message string
}

func (e *grafanaError) Error() string {
	hint := ""
	switch e.code {
	case http.StatusUnauthorized:
		hint = "\n  Grafana does not know the token: is it one of this Grafana, and not expired?"
	case http.StatusForbidden:
		hint = "\n  the token's service account may not do this: it needs the role Admin, or datasources:create, datasources:write, dashboards:create and dashboards:write"
	case http.StatusConflict:
		hint = "\n  Grafana has a data source of this name with another uid: rename or delete that one"
	}
	return fmt.Sprintf("Grafana answered %d %s%s%s", e.code, http.StatusText(e.code), e.message, hint)
}

// What is read of an answer, and how long one may take.
const (
	grafanaAnswer  = 8 << 20
	grafanaTimeout = 30 * time.Second
)

func (g *GrafanaAPI) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, grafanaTimeout)
	defer cancel()
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(g.URL, "/")+path, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+g.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	client := http.Client{}
	if g.Client != nil {
		client = *g.Client
	}
	// A redirect is to a login page, or from http to https: the token does not
	// follow, and a POST would become a GET.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the method and the URL, which the caller names
		}
		return fmt.Errorf("Grafana at %s was not reached: %w", g.URL, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, grafanaAnswer))
	if err != nil {
		return fmt.Errorf("reading Grafana's answer: %w", err)
	}
	isJSON := strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json")
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("Grafana at %s redirects to %s: give the URL that it is served at", g.URL, withoutQuery(resp.Header.Get("Location")))
	case resp.StatusCode >= 400 && isJSON:
		return &grafanaError{resp.StatusCode, strings.ReplaceAll(messageOf(data), g.Token, "[token]")}
	case resp.StatusCode >= 400 || !isJSON:
		return fmt.Errorf("%s answers with %d and %q, not with Grafana's API: is the URL, with its path, that of Grafana?", g.URL, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("Grafana's answer cannot be read: %w", err)
	}
	return nil
}

func withoutQuery(location string) string {
	location, _, _ = strings.Cut(location, "?")
	return location
}

// messageOf is what an error answer says, on one line.
func messageOf(data []byte) string {
	var m struct{ Message string }
	if json.Unmarshal(data, &m) != nil || m.Message == "" {
		return ""
	}
	text := strings.Join(strings.Fields(m.Message), " ")
	if r := []rune(text); len(r) > 300 {
		text = string(r[:300]) + "…"
	}
	return ": " + text
}
