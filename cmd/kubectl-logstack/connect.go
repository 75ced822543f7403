package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// target says which collector a command asks.
type target struct {
	addr    string
	service string
	// namespace of the installation; "" is the usual one.
	namespace string
}

func (t *target) addFlags(fl *pflag.FlagSet) {
	fl.StringVar(&t.addr, "addr", os.Getenv("LOGSTACK_ADDR"), "URL of a collector or Loki; no kubeconfig is needed then. Environment: LOGSTACK_ADDR.")
	fl.StringVar(&t.service, "service", "", "Service of the collector as NAMESPACE/NAME (default: logstack in the namespace of the installation, else the one that is found).")
}

// serviceIn names the collector's Service of an installation.
func serviceIn(namespace string) kube.Service {
	return kube.Service{Namespace: namespace, Name: install.Name, Port: install.Port}
}

// connect reaches the collector. The caller closes the connection.
func (a *app) connect(ctx context.Context, t target) (*lokiapi.Client, func(), error) {
	if t.addr != "" {
		u, err := url.Parse(t.addr)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, nil, usagef("--addr %q is not a URL such as http://localhost:3100", t.addr)
		}
		return &lokiapi.Client{HTTP: &http.Client{}, BaseURL: strings.TrimSuffix(t.addr, "/")}, func() {}, nil
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
	return &lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}, conn.Close, nil
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
		return c.Connect(ctx, svc, "/ready")
	}
	conn, err := c.Connect(ctx, serviceIn(t.namespace), "/ready")
	var missing *kube.NoServiceError
	if !errors.As(err, &missing) {
		return conn, err
	}
	svc, found := findService(ctx, c)
	if !found {
		return nil, err
	}
	return c.Connect(ctx, svc, "/ready")
}

// parseService reads NAMESPACE/NAME[:PORT]. Loki's charts name the port
// "http-metrics", ours is "http"; its number is the same.
func parseService(s string) (kube.Service, error) {
	ns, name, ok := strings.Cut(s, "/")
	name, port, hasPort := strings.Cut(name, ":")
	if !ok || ns == "" || name == "" || hasPort && port == "" {
		return kube.Service{}, usagef("--service %q: write NAMESPACE/NAME or NAMESPACE/NAME:PORT", s)
	}
	if !hasPort {
		port = "3100"
	}
	return kube.Service{Namespace: ns, Name: name, Port: port}, nil
}

// findService looks for the only collector of the cluster. Without the right
// to list Services there is nothing to find.
func findService(ctx context.Context, c *kube.Client) (kube.Service, bool) {
	list, err := c.Kube.CoreV1().Services("").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=logstack"})
	if err != nil || len(list.Items) != 1 {
		return kube.Service{}, false
	}
	return kube.Service{Namespace: list.Items[0].Namespace, Name: list.Items[0].Name, Port: install.Port}, true
}

// waitForLine proves that lines arrive: it makes the collector write one to its
// own log and polls until a line written since then can be queried.
func waitForLine(ctx context.Context, conn *kube.Connection, since time.Time) (row, error) {
	client := &lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}
	if err := client.Echo(ctx, "installed"); err != nil {
		return row{}, explainAnswer(err)
	}
	ticker := time.NewTicker(300 * time.Millisecond)
	defer ticker.Stop()
	for {
		resp, err := client.QueryRange(ctx, lokiapi.RangeRequest{
			Query: `{job="kubernetes-pods"}`, Start: since, End: time.Now().Add(time.Minute),
			Limit: 1, Direction: model.Backward,
		})
		if err == nil {
			if rows := rowsOf(resp, model.Backward); len(rows) > 0 {
				return rows[0], nil
			}
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return row{}, err
			}
			return row{}, ctx.Err()
		case <-ticker.C:
		}
	}
}
