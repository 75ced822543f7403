package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// What people type, and the pods that it means.
func TestPodPattern(t *testing.T) {
	for _, tc := range []struct {
		what       string
		match, not string // pod names, separated by blanks
	}{
		{"", "anything a-0", ""},
		{"web", "web web-0 web-7d4b9c5f8d-x2x8p", "webhook my-web"},
		{"web-7d4b9c5f8d-x2x8p", "web-7d4b9c5f8d-x2x8p", "web-7d4b9c5f8d-zzzzz"},
		{"pod/web-0", "web-0", "web-01 web-0-x"},
		{"deploy/web", "web-7d4b9c5f8d-x2x8p web-5f-bcdfg", "web web-0 web-admin-7d4b9c5f8d-x2x8p web-7d4b9c5f8d-aeiou"},
		{"Deployment/web", "web-7d4b9c5f8d-x2x8p", "web"},
		{"rs/web-7d4b9c5f8d", "web-7d4b9c5f8d-x2x8p", "web-6c4b9c5f8d-x2x8p"},
		{"sts/db", "db-0 db-17", "db db-0-x db-x2x8p"},
		{"ds/agent", "agent-x2x8p", "agent agent-0"},
		{"job/nightly", "nightly-x2x8p nightly-3-x2x8p", "nightly"},
		{"cronjob/nightly", "nightly-29384756-x2x8p", "nightly-x2x8p"},
		{"web|api", "my-web api-0", "db-0"},
		{"^web-[0-9]$", "", "web-10"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			p, err := podPattern(tc.what)
			if err != nil {
				t.Fatal(err)
			}
			re := regexp.MustCompile("^(?:" + p + ")$") // as Prometheus anchors
			for _, pod := range strings.Fields(tc.match) {
				if !re.MatchString(pod) {
					t.Errorf("%s does not match %s", p, pod)
				}
			}
			for _, pod := range strings.Fields(tc.not) {
				if re.MatchString(pod) {
					t.Errorf("%s matches %s", p, pod)
				}
			}
		})
	}
}

func TestLogsQuery(t *testing.T) {
	for _, tc := range []struct {
		what, namespace, container, grep string
		want, err                        string
	}{
		{"web", "shop", "", "", `{namespace="shop", pod=~"web(-.*)?", job!~"kubernetes-events|kubernetes-lifecycle"}`, ""},
		{"", "", "", "", `{pod=~".+", job!~"kubernetes-events|kubernetes-lifecycle"}`, ""},
		{"sts/db", "shop", "main", `slow "query"`, `{namespace="shop", pod=~"db-[0-9]+", container=~"main", job!~"kubernetes-events|kubernetes-lifecycle"} |~ "slow \"query\""`, ""},
		{"svc/web", "shop", "", "", "", `the kind "svc" has no pods`},
		{"deploy/Web!", "shop", "", "", "", "is not the name"},
		{"web(", "shop", "", "", "", "neither a pod's name nor a regular expression"},
		{"web", "shop", "", "(", "", "--grep"},
		{"web", "shop", "(", "", "", "container"},
	} {
		got, err := logsQuery(tc.what, tc.namespace, tc.container, tc.grep, false)
		if tc.err != "" {
			var u *usageError
			if !errors.As(err, &u) || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: got %v, want a usage error with %q", tc.what, err, tc.err)
			}
			continue
		}
		if err != nil || got != tc.want {
			t.Errorf("%q: got %s, %v; want %s", tc.what, got, err, tc.want)
		}
	}
	if got, err := logsQuery("web", "shop", "", "", true); err != nil || got != `{namespace="shop", pod=~"web(-.*)?"}` {
		t.Errorf("with events: %s, %v", got, err)
	}
}
