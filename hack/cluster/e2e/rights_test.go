package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"

	rbacv1 "k8s.io/api/rbac/v1"
)

// audited are the tests whose collectors' requests are in the audit log.
var audited = []string{"TestRightsOfTheCluster", "TestRightsOfNamespaces", "TestRightsMissing"}

var auditFile string

// auditArgs make the API server note who asked for what.
func auditArgs(dir string) ([]string, error) {
	auditFile = filepath.Join(dir, "audit.log")
	var users strings.Builder
	for _, name := range audited {
		fmt.Fprintf(&users, "      - system:serviceaccount:logstack:e2e-%s\n", strings.ToLower(strings.TrimPrefix(name, "Test")))
	}
	policy := filepath.Join(dir, "audit.yaml")
	err := os.WriteFile(policy, []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users:
`+users.String()+"  - level: None\n"), 0o644)
	return []string{"--audit-policy-file=" + policy, "--audit-log-path=" + auditFile}, err
}

// request is what a collector asked for.
type request struct {
	verb, resource, namespace, name string
	code                            int
}

// requests returns what the test's collector has asked for, reviews of its own
// rights excepted.
func requests(t *testing.T) []request {
	t.Helper()
	f, err := os.Open(auditFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	user := "system:serviceaccount:logstack:e2e-" + namespaceOf(t)
	var out []request
	seen := make(map[string]bool) // a long request is noted when it begins and when it ends
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // half a line is being written
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			AuditID        string
			Verb           string
			RequestURI     string
			User           struct{ Username string }
			ObjectRef      struct{ Resource, Subresource, Namespace, Name, APIGroup string }
			ResponseStatus struct{ Code int }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		resource := e.ObjectRef.Resource
		switch {
		case e.User.Username != user || seen[e.AuditID] || resource == "selfsubjectaccessreviews":
			continue
		case resource == "":
			resource = e.RequestURI
		case e.ObjectRef.Subresource != "":
			resource += "/" + e.ObjectRef.Subresource
		}
		if e.ObjectRef.APIGroup != "" {
			resource += "." + e.ObjectRef.APIGroup
		}
		seen[e.AuditID] = true
		out = append(out, request{e.Verb, resource, e.ObjectRef.Namespace, e.ObjectRef.Name, e.ResponseStatus.Code})
	}
}

// rightsOf lists rules as "verb resource".
func rightsOf(rules []rbacv1.PolicyRule) []string {
	var out []string
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				out = append(out, verb+" "+resource)
			}
		}
	}
	slices.Sort(out)
	return out
}

// checkRights compares what was asked for with what is granted, in both
// directions: a right that nobody uses is one too many.
func checkRights(t *testing.T, got []request, rules []rbacv1.PolicyRule) {
	t.Helper()
	used := make(map[string]bool)
	refused := 0
	for _, r := range got {
		if r.code == http.StatusForbidden {
			refused++
			t.Errorf("refused: %s %s in %q", r.verb, r.resource, r.namespace)
			if refused > 10 {
				break
			}
		}
		used[r.verb+" "+r.resource] = true
	}
	granted := rightsOf(rules)
	for _, right := range granted {
		if !used[right] {
			t.Errorf("the right to %s is granted and was not used", right)
		}
	}
	for right := range used {
		if !slices.Contains(granted, right) {
			t.Errorf("asked to %s, which is not granted", right)
		}
	}
}

// useEverything makes a collector do all that it does with a pod: read it, see
// it restart and end, be restarted itself.
func useEverything(t *testing.T, c *collector, loggers ...*logger) {
	for _, l := range loggers {
		l.write(20)
		occur(t, l.pod.Namespace, l.pod.Name, 1)
	}
	for _, l := range loggers {
		c.awaitLines(l)
		l.restart()
		l.write(5)
		c.awaitLines(l)
		c.awaitEvents(l.pod.Namespace, 1)
	}
	// Without WatchList, as API servers before 1.34 have it, objects are listed.
	c.kill()
	t.Setenv("KUBE_FEATURE_WatchListClient", "false")
	c.start()
	for _, l := range loggers {
		l.write(5)
		c.awaitLines(l)
		must(t, l.pod.Finish(t.Context(), 0))
	}
	pause(2 * time.Second)
}

// The ClusterRole of the manifests is exactly what the collector uses.
func TestRightsOfTheCluster(t *testing.T) {
	pod := addPod(t, newNode(t), rig.PodSpec{Name: "web", RestartPolicy: "OnFailure"})
	l := newLogger(t, pod, "app", lines.Plain)
	c := newCollector(t, "")
	useEverything(t, c, l)
	checkRights(t, requests(t), rig.CollectorRules())
}

// namespacedRules are what a Role grants where there is no ClusterRole: the
// manifests' rules but for namespaces, which are no namespace's.
func namespacedRules() []rbacv1.PolicyRule {
	rules := rig.CollectorRules()
	for i := range rules {
		rules[i].Resources = slices.DeleteFunc(rules[i].Resources, func(r string) bool { return r == "namespaces" })
	}
	return rules
}

// With Roles in two namespaces, and nothing else, both are collected in full:
// nothing cluster-wide is asked for, nothing is refused.
func TestRightsOfNamespaces(t *testing.T) {
	node := newNode(t)
	var loggers []*logger
	for _, ns := range []string{"rights-a", "rights-b", "rights-c"} {
		pod, err := shared.AddPod(t.Context(), node, rig.PodSpec{Namespace: ns, Name: "web", RestartPolicy: "OnFailure"})
		must(t, err)
		loggers = append(loggers, newLogger(t, pod, "app", lines.Plain))
	}
	loggers[2].write(3)
	occur(t, "rights-c", "web", 1)
	c := newCollectorAs(t, rig.ServiceAccount{Rules: namespacedRules(), Namespaces: []string{"rights-a", "rights-b"}},
		"--namespace", "rights-a,rights-b")
	useEverything(t, c, loggers[:2]...)
	got := requests(t)
	checkRights(t, got, namespacedRules())
	for _, r := range got {
		if r.namespace != "rights-a" && r.namespace != "rights-b" {
			t.Errorf("%s %s was asked for in %q", r.verb, r.resource, r.namespace)
		}
	}
	others, err := c.queryAll(`{namespace="rights-c"}`)
	must(t, err)
	if len(others) > 0 {
		t.Errorf("%d entries of a namespace that was not asked for", len(others))
	}
	if p := c.problems(); len(p) > 0 {
		t.Errorf("problems: %q", p)
	}
	for query, want := range map[string]int{"": 2, "?namespace=rights-a": 1, "?namespace=rights-c": 0, "?state=following": 0} {
		var got struct {
			Targets []struct{ Namespace, State string }
		}
		c.getJSON("/logstack/v1/targets"+query, &got)
		if len(got.Targets) != want {
			t.Errorf("targets%s: %+v", query, got.Targets)
		}
	}
}

// A missing right is a problem that says what to do, and not a hail of requests.
func TestRightsMissing(t *testing.T) {
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}}}
	pod := addPod(t, newNode(t), rig.PodSpec{Name: "web"})
	l := newLogger(t, pod, "app", lines.Plain)
	l.write(3)
	c := newCollectorAs(t, rig.ServiceAccount{Rules: rules})
	pause(10 * time.Second)
	problems := strings.Join(c.problems(), "\n")
	for _, want := range []string{"may not get pods/log in all namespaces: add this to the ClusterRole", "may not list events in all namespaces", "may not watch events in all namespaces"} {
		if !strings.Contains(problems, want) {
			t.Errorf("problems do not say %q:\n%s", want, problems)
		}
	}
	refused := make(map[string]int)
	for _, r := range requests(t) {
		if r.code == http.StatusForbidden {
			refused[r.verb+" "+r.resource]++
			refused[r.namespace+"/"+r.name]++
		}
	}
	if n := refused[pod.Namespace+"/"+pod.Name]; n == 0 || n > 6 {
		t.Errorf("the log of one container was refused %d times in ten seconds", n)
	}
	if n := refused["list events"] + refused["watch events"] + refused["list namespaces"]; n > 0 {
		t.Errorf("%d requests that the reviews had ruled out", n)
	}
	// Granted at last, everything goes on without a restart: it looks once a minute.
	if !soak {
		return
	}
	_, err := shared.ServiceAccount(t.Context(), rig.ServiceAccount{Name: "e2e-" + namespaceOf(t)})
	must(t, err)
	deadline := time.Now().Add(90 * time.Second)
	for len(c.problems()) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("problems stay: %q", c.problems())
		}
		pause(time.Second)
	}
}

// problems are those of the collector's status.
func (c *collector) problems() []string {
	c.t.Helper()
	var st struct {
		Podlogs, Events struct{ Problems []string }
	}
	c.getJSON("/logstack/v1/status", &st)
	return append(st.Podlogs.Problems, st.Events.Problems...)
}

func (c *collector) getJSON(path string, into any) {
	c.t.Helper()
	resp, err := http.Get("http://" + c.address + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		c.t.Fatal(err)
	}
}
