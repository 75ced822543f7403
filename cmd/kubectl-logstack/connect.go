package main

import (
	"context"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

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

// completionTimeout bounds what a press of the tab key may take.
const completionTimeout = 2 * time.Second
