package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// target says which server a command asks: a URL, a Service of the cluster, or
// what the cluster has.
type target struct {
	addr    string
	service string
	orgID   string
	// namespace of the installation; "" is the usual one.
	namespace string
}

// targetHelp ends the help of the commands that ask a server.
const targetHelp = `
Whom it asks: our collector in the cluster of the kubeconfig; another Loki there
with --service, or by itself when it is the only one; or any URL with --addr. For
URLs the environment variables of logcli hold: LOKI_ADDR, LOKI_USERNAME,
LOKI_PASSWORD, LOKI_BEARER_TOKEN, LOKI_BEARER_TOKEN_FILE, LOKI_CA_CERT_PATH,
LOKI_CLIENT_CERT_PATH, LOKI_CLIENT_KEY_PATH, LOKI_TLS_SKIP_VERIFY and others.`

func (t *target) addFlags(a *app, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&t.addr, "addr", "", "URL of a collector or Loki; no kubeconfig is needed then. Environment: LOGSTACK_ADDR, LOKI_ADDR.")
	fl.StringVar(&t.service, "service", "", "Service to ask as NAMESPACE/NAME[:PORT] (default: logstack in the namespace of the installation, else the only Loki that is found).")
	fl.StringVar(&t.orgID, "org-id", "", "Tenant, for a Loki that has several (X-Scope-OrgID). Environment: LOKI_ORG_ID.")
	_ = cmd.RegisterFlagCompletionFunc("service", a.completeServices)
	_ = cmd.RegisterFlagCompletionFunc("addr", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("org-id", cobra.NoFileCompletions)
}

// remote is the server that a command asks.
type remote struct {
	*lokiapi.Client
	// note tells of trouble that is being dealt with.
	note func(string)
	// backoff is the wait before the n-th new try in a row, counted from 0.
	backoff func(n int) time.Duration
	// proxied is true behind the API server's service proxy, which opens
	// WebSockets without their parameters: tryUpgrade of k8s.io/apimachinery's
	// UpgradeAwareHandler forgets the query of the URL. Who tails a Loki there
	// asks again and again, at this distance.
	proxied bool
	poll    time.Duration
	// stats adds up what answers say they cost; nil does not ask for it. Streams
	// say nothing, so answers come in pages then.
	stats *queryStats
	// warned are the server's warnings that have been told.
	warned []string
}

// remote wraps a client that tells of its troubles on stderr.
func (a *app) remote(c *lokiapi.Client) *remote {
	r := &remote{Client: c, backoff: reconnectBackoff, poll: time.Second, note: func(text string) {
		if a.err().Interactive {
			fmt.Fprint(a.ErrOut, "\r\x1b[K") // a progress bar may be there
		}
		fmt.Fprintln(a.ErrOut, a.err().Line("note: "+text))
	}}
	c.Warned = func(text string) { r.warn(text) }
	return r
}

// serviceIn names the collector's Service of an installation.
func serviceIn(namespace string) kube.Service {
	return kube.Service{Namespace: namespace, Name: install.Name, Port: install.Port}
}

// connect reaches the server. The caller closes the connection.
func (a *app) connect(ctx context.Context, t target) (*remote, func(), error) {
	if t.addr != "" && t.service != "" {
		return nil, nil, usagef("--addr and --service: name one of them")
	}
	// What is wrong with the environment only matters for URLs, see below.
	env, envErr := readLokiEnv(os.Getenv)
	if t.orgID != "" {
		env.orgID = t.orgID
	}
	if t.addr == "" && t.service == "" && !a.namesCluster() {
		t.addr = os.Getenv("LOGSTACK_ADDR")
		if loki := os.Getenv("LOKI_ADDR"); t.addr == "" && loki != "" {
			// It may be there for logcli, and forgotten.
			fmt.Fprintf(a.ErrOut, "note: asking %s (LOKI_ADDR); --service asks a Service of the cluster instead\n", redacted(loki))
			t.addr = loki
		}
	}
	if t.addr != "" {
		if envErr != nil {
			return nil, nil, envErr
		}
		client, err := env.connect(t.addr)
		if err != nil {
			return nil, nil, err
		}
		return a.remote(client), func() {}, nil
	}
	if t.service != "" {
		if _, err := parseService(t.service); err != nil {
			return nil, nil, err
		}
	}
	c, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	conn, err := a.connectService(ctx, c, t)
	if err != nil {
		return nil, nil, err
	}
	if conn.Note != "" {
		fmt.Fprintln(a.ErrOut, "note: "+conn.Note)
	}
	client := &lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL, Header: env.header()}
	r := a.remote(client)
	r.proxied = conn.Via == kube.ViaServiceProxy
	return r, conn.Close, nil
}

// namesCluster says whether the command line names a cluster, which is then
// meant, whatever the environment has.
func (a *app) namesCluster() bool {
	f := a.flags
	if f == nil {
		return false
	}
	for _, v := range []*string{f.KubeConfig, f.Context, f.ClusterName, f.APIServer} {
		if v != nil && *v != "" {
			return true
		}
	}
	return false
}

// redacted is a URL without its password, to be shown.
func redacted(addr string) string {
	u, err := url.Parse(addr)
	if err != nil {
		return "a URL that cannot be read"
	}
	return u.Redacted()
}

func (a *app) connectService(ctx context.Context, c *kube.Client, t target) (*kube.Connection, error) {
	if t.namespace == "" {
		t.namespace = install.Name
	}
	if t.service != "" {
		svc, err := parseService(t.service)
		if err != nil {
			return nil, err
		}
		if svc.Port == "" {
			svc.Port = portOf(ctx, c, svc)
		}
		conn, err := connectForeign(ctx, c, svc)
		if err == nil {
			withCredentials(conn, c, svc.Namespace, os.Getenv) // it may be one of ours
		}
		return conn, err
	}
	conn, err := connectOurs(ctx, c, t.namespace)
	var missing *kube.NoServiceError
	if !errors.As(err, &missing) {
		return conn, err
	}
	found := preferOurs(findServices(ctx, c))
	switch len(found) {
	case 0:
		return nil, err
	case 1:
		fmt.Fprintf(a.ErrOut, "note: nothing is installed in namespace %s; asking %s\n", t.namespace, found[0])
		conn, err := connectForeign(ctx, c, found[0].Service)
		if err == nil && found[0].ours {
			// Nobody named it: what the environment has is not for it.
			withCredentials(conn, c, found[0].Namespace, func(string) string { return "" })
		}
		return conn, err
	}
	var list strings.Builder
	for _, f := range found {
		fmt.Fprintf(&list, "\n  --service %s/%s", f.Namespace, f.Name)
	}
	return nil, usagef("nothing is installed in namespace %s, and there are %d others to ask; choose one:%s", t.namespace, len(found), &list)
}

// connectForeign connects to a Service that our status and install commands know
// nothing about.
func connectForeign(ctx context.Context, c *kube.Client, svc kube.Service) (*kube.Connection, error) {
	conn, err := c.Connect(ctx, svc, "/ready")
	var noSvc *kube.NoServiceError
	var noEnd *kube.NoEndpointsError
	switch {
	case errors.As(err, &noSvc):
		return nil, &kube.ClusterError{Cause: fmt.Sprintf("there is no Service %s in namespace %s", svc.Name, svc.Namespace), Fix: "look what there is: kubectl get services -A", Err: err}
	case errors.As(err, &noEnd):
		return nil, &kube.ClusterError{Cause: fmt.Sprintf("Service %s/%s has no ready pod behind it", svc.Namespace, svc.Name), Fix: "look at its pods: kubectl get pods -n " + svc.Namespace, Err: err}
	}
	return conn, err
}

// parseService reads NAMESPACE/NAME[:PORT].
func parseService(s string) (kube.Service, error) {
	ns, name, ok := strings.Cut(s, "/")
	name, port, hasPort := strings.Cut(name, ":")
	if !ok || ns == "" || name == "" || hasPort && port == "" || strings.Contains(name+port, "/") {
		return kube.Service{}, usagef("--service %q: write NAMESPACE/NAME or NAMESPACE/NAME:PORT", s)
	}
	return kube.Service{Namespace: ns, Name: name, Port: port}, nil
}

// lokiPort is the one that Loki and our collector listen on unless told else.
const lokiPort = 3100

// portOf finds out which port of a Service speaks HTTP. Who may not look at
// the Service gets the usual one.
func portOf(ctx context.Context, c *kube.Client, svc kube.Service) string {
	s, err := c.Kube.CoreV1().Services(svc.Namespace).Get(ctx, svc.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Sprint(lokiPort)
	}
	return queryPort(s)
}

// queryPort is the port for queries: number 3100, else the one that is named
// as Loki's charts name it (the gateway has 80), else the first.
func queryPort(s *corev1.Service) string {
	port := ""
	for _, p := range s.Spec.Ports {
		switch {
		case p.Port == lokiPort:
			return fmt.Sprint(p.Port)
		case p.Name == "http-metrics" || p.Name == "http" || port == "":
			port = fmt.Sprint(p.Port)
		}
	}
	return port
}

// foundService is a Service that answers Loki's queries.
type foundService struct {
	kube.Service
	ours bool
	// rank orders the Services of one installation: the lowest is asked.
	rank int
}

func (f foundService) String() string {
	if f.ours {
		return "the collector at Service " + f.Service.String()
	}
	return "Loki at Service " + f.Service.String()
}

// lokiRoles are the parts of Loki's charts that answer queries, the best
// first. A Service without a part in its name is a single binary. What is not
// here (write, backend, ingester, canary, caches …) answers none.
var lokiRoles = []string{"", "query-frontend", "read", "gateway", "querier"}

// findServices looks for the collectors and Lokis of the cluster, one Service
// of each. Without the right to list Services there is nothing to find.
func findServices(ctx context.Context, c *kube.Client) []foundService {
	list, err := c.Kube.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	best := map[string]foundService{}
	for i := range list.Items {
		s := &list.Items[i]
		f, ok := classifyService(s)
		if !ok {
			continue
		}
		key := s.Namespace + "/" + s.Labels["app.kubernetes.io/instance"]
		if f.ours {
			key = s.Namespace + "/" + s.Name
		}
		if old, seen := best[key]; !seen || f.rank < old.rank {
			best[key] = f
		}
	}
	found := make([]foundService, 0, len(best))
	for _, f := range best {
		found = append(found, f)
	}
	slices.SortFunc(found, func(x, y foundService) int { return strings.Compare(x.String(), y.String()) })
	return found
}

// preferOurs is the only collector of ours where there is one: it is likelier
// meant than a Loki beside it.
func preferOurs(found []foundService) []foundService {
	var ours []foundService
	for _, f := range found {
		if f.ours {
			ours = append(ours, f)
		}
	}
	if len(ours) == 1 {
		return ours
	}
	return found
}

// classifyService tells by labels and name whether a Service answers Loki's
// queries. Headless ones are twins of others.
func classifyService(s *corev1.Service) (foundService, bool) {
	f := foundService{Service: kube.Service{Namespace: s.Namespace, Name: s.Name, Port: queryPort(s)}}
	if f.Port == "" || s.Spec.ClusterIP == corev1.ClusterIPNone {
		return f, false
	}
	if s.Labels["app.kubernetes.io/part-of"] == install.Name {
		f.ours = true
		return f, true
	}
	if s.Labels["app.kubernetes.io/name"] != "loki" && s.Labels["app"] != "loki" {
		return f, false
	}
	role := s.Labels["app.kubernetes.io/component"]
	if role == "single-binary" || role == "singleBinary" {
		role = ""
	}
	if role == "" {
		// Without the label (the single binary's Service, old charts) the name
		// tells the part: [RELEASE-]loki[-PART].
		if i := strings.LastIndex("-"+s.Name, "-loki"); i >= 0 {
			role = strings.TrimPrefix(("-" + s.Name)[i+len("-loki"):], "-")
		}
	}
	f.rank = slices.Index(lokiRoles, role)
	return f, f.rank >= 0
}

// completeServices answers the shell with the Services that can be asked.
func (a *app) completeServices(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, f := range findServices(ctx, c) {
		names = append(names, f.Namespace+"/"+f.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// isUnknownPath says whether a server does not have an endpoint: a foreign Loki
// has none of ours.
func isUnknownPath(err error) bool {
	var status *lokiapi.StatusError
	return errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusMethodNotAllowed)
}
