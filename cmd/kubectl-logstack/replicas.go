package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// collectorPort is the one that the pods listen on.
const collectorPort = 3100

// leavePoll is how often a replica that leaves is asked how far it is.
const leavePoll = time.Second

// scaleDown has the replicas that will go hand everything over to the others,
// the last one first: what they keep for themselves would be missing from answers.
func scaleDown(ctx context.Context, c *kube.Client, namespace string, from, to int32, progress *output.Progress) error {
	for i := from - 1; i >= to; i-- {
		pod := fmt.Sprintf("%s-%d", install.Name, i)
		if err := leave(ctx, c, namespace, pod, progress); err != nil {
			return fmt.Errorf("pod/%s cannot hand its logs over, and stays: %w\n  try again, or scale down without them (its volume claim stays): kubectl scale statefulset %s -n %s --replicas=%d",
				pod, err, install.Name, namespace, to)
		}
		progress.Step("pod/" + pod + ": has handed everything over")
	}
	return nil
}

func leave(ctx context.Context, c *kube.Client, namespace, pod string, progress *output.Progress) error {
	conn, err := c.ConnectPod(ctx, namespace, pod, collectorPort, "/ready")
	if err != nil {
		return err
	}
	defer conn.Close()
	withCredentials(conn, c, namespace, os.Getenv)
	client := &lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}
	_, err = client.Leave(ctx)
	var status *lokiapi.StatusError
	if errors.As(err, &status) && status.Code == http.StatusConflict {
		err = nil // it is leaving already, or has left
	}
	if err != nil {
		return explainAnswer(err)
	}
	ticker := time.NewTicker(leavePoll)
	defer ticker.Stop()
	for {
		st, err := client.LeaveStatus(ctx)
		if err != nil {
			return explainAnswer(err)
		}
		switch {
		case st.State == lokiapi.ReplicaLeft:
			return nil
		case st.State == lokiapi.ReplicaActive && st.Error != "":
			return errors.New(st.Error)
		}
		progress.Wait(fmt.Sprintf("pod/%s hands its logs over: %d of %d", pod, st.Shipped, st.Total))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
