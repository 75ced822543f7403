package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// pollInterval is how often waitReady looks. A watch would save little for the
// seconds that an installation takes, and would need more rights.
const pollInterval = 500 * time.Millisecond

// waitReady waits until the collector is ready, and tells of each claim and pod
// that gets there. An API server that does not answer for a while (its own
// upgrade, a network that changes) is waited for like anything else.
func waitReady(ctx context.Context, c *kube.Client, namespace string, opts Options) error {
	parent := ctx
	ctx, cancel := opts.bound(ctx)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	last := ""
	told := map[string]bool{}
	for {
		st, err := inspectBriefly(parent, c, namespace)
		reason := ""
		switch {
		case err == nil:
			tellProgress(st, told, opts.Observer)
			if st.Ready {
				return nil
			}
			if st.Stuck != nil {
				return st.Stuck
			}
			reason = st.Reason
		case parent.Err() != nil: // below
		case kube.IsTransient(err):
			reason = "the API server does not answer: " + firstLine(err.Error())
		default:
			return err
		}
		if reason != "" && reason != last {
			if opts.Observer.Waiting != nil {
				opts.Observer.Waiting(reason)
			}
			last = reason
		}
		select {
		case <-ctx.Done():
			// Ours is the deadline that may be made longer.
			if parent.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return &TimeoutError{Namespace: namespace, Reason: last}
			}
			return parent.Err()
		case <-ticker.C:
		}
	}
}

// askTimeout bounds one look: an API server that is gone may not answer at all.
const askTimeout = 10 * time.Second

func inspectBriefly(ctx context.Context, c *kube.Client, namespace string) (*State, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return Inspect(ctx, c, namespace)
}

// tellProgress reports what has been reached, each once.
func tellProgress(st *State, told map[string]bool, obs Observer) {
	if obs.Reached == nil {
		return
	}
	tell := func(object, what string) {
		if key := object + " " + what; !told[key] {
			told[key] = true
			obs.Reached(object, what)
		}
	}
	for i := range st.Claims {
		if c := &st.Claims[i]; c.Status.Phase == corev1.ClaimBound {
			size := c.Status.Capacity[corev1.ResourceStorage]
			tell("persistentvolumeclaim/"+c.Name, "bound, "+size.String())
		}
	}
	for i := range st.Pods {
		p := &st.Pods[i]
		// The pod that is being replaced has told its story.
		if p.DeletionTimestamp != nil || !st.current(p) {
			continue
		}
		object := "pod/" + p.Name
		if p.Spec.NodeName != "" {
			tell(object, "on node "+p.Spec.NodeName)
		}
		for _, cs := range p.Status.ContainerStatuses {
			if cs.State.Running != nil {
				tell(object, "running "+fmt.Sprint(cs.Image))
			}
			if cs.Ready {
				tell(object, "ready")
			}
		}
	}
}
