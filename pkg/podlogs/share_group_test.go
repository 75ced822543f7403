package podlogs_test

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
	"github.com/logstack-dev/kubectl-logstack/pkg/sharing"
	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/fakelease"
)

func init() {
	podlogs.NewSimGroup = func(name, id string, leases *fakelease.Client, h *http.Client, log *slog.Logger) (podlogs.SimGroup, error) {
		g, err := sharing.New(sharing.Options{
			Set: "logstack", Name: name, ID: id, URL: "http://" + name, Leases: leases, HTTP: h, Logger: log,
		})
		return simGroup{g}, err
	}
}

// simGroup is a sharing.Group as the simulation wants it.
type simGroup struct{ *sharing.Group }

func (g simGroup) Handler(c *podlogs.Collector) http.Handler { return g.Group.Handler(c) }

func (g simGroup) Leave(ctx context.Context) error { return g.Group.Leave(ctx) }
