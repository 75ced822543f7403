package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// A replica answers when it knows the others, or says that it does not.
func TestReadyWhenReplicasAreKnown(t *testing.T) {
	p := startParts(t, "--replica-set", "logs", "--replica-name", "a", "--replica-namespace", "x", "--advertise-url", "http://127.0.0.1:1")
	const reason = "which other replicas there are"
	for _, path := range []string{"/ready", "/loki/api/v1/labels"} {
		if code, body := askParts(t, p, path); code != http.StatusServiceUnavailable || !strings.Contains(body, reason) {
			t.Errorf("%s before the others are known: %d %s", path, code, body)
		}
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	p.readyWhenKnown(stopped, nil, nil)
	if code, _ := askParts(t, p, "/ready"); code != http.StatusServiceUnavailable {
		t.Errorf("ready after a stop: %d", code)
	}
	late := make(chan time.Time, 1)
	late <- time.Now()
	p.readyWhenKnown(t.Context(), nil, late)
	if code, body := askParts(t, p, "/ready"); code != http.StatusOK {
		t.Errorf("late: %d %s", code, body)
	}
	if code, body := askParts(t, p, "/loki/api/v1/labels"); code != http.StatusOK || !strings.Contains(body, reason) {
		t.Errorf("an answer without the others has no warning: %d %s", code, body)
	}
	if _, body := askParts(t, p, lokiapi.ReplicasPath); !strings.Contains(body, "Leases of the replicas have not been read") {
		t.Errorf("replicas: %s", body)
	}
}
