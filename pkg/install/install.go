package install

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Observer is told what happens, from one goroutine. Nil fields are skipped.
type Observer struct {
	// Applied is called after each object.
	Applied func(object string, change kube.Change)
	// Waiting is called whenever the reason for waiting changes.
	Waiting func(reason string)
	// Reached is called when a claim or pod has got a step further.
	Reached func(object, what string)
	// Note is called with what else a person should know.
	Note func(text string)
}

func (o Observer) note(text string) {
	if o.Note != nil {
		o.Note(text)
	}
}

func (o Observer) applied(object string, change kube.Change) {
	if o.Applied != nil {
		o.Applied(object, change)
	}
}

// Options say how Run proceeds.
type Options struct {
	Values Values
	// DryRun asks the API server to judge every object and stores nothing.
	DryRun bool
	// Force takes over fields that another manager owns.
	Force bool
	// Wait for the collector to be ready, for Timeout at most; 0 is for ever.
	Wait    bool
	Timeout time.Duration
	// Rollback goes back to what was ready before when this run fails.
	Rollback bool
	// StoreFormat is the format of the data as the running collector tells it; 0
	// where it was not asked.
	StoreFormat int
	Observer    Observer
}

// bound ends a context after the timeout.
func (o Options) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, o.Timeout)
}

// StuckError says why waiting any longer is hopeless.
type StuckError struct {
	Object string
	Reason string
	Fix    string
}

func (e *StuckError) Error() string { return fmt.Sprintf("%s: %s\n  %s", e.Object, e.Reason, e.Fix) }

// TimeoutError says what was still missing when the time was over.
type TimeoutError struct{ Namespace, Reason string }

func (e *TimeoutError) Error() string {
	return "not ready in time: " + e.Reason + "\n  look further: " + Command(e.Namespace, "status") + "; wait longer: --timeout"
}

// Run installs or upgrades: a second run with the same values changes nothing.
// It returns how many objects were created or changed. The context stops it;
// Options.Timeout bounds the waits.
func Run(ctx context.Context, c *kube.Client, opts Options) (changed int, err error) {
	resolved, err := resolve(ctx, c, opts.Values, opts.Observer)
	if err != nil {
		return 0, err
	}
	next, err := newInstallation(resolved, opts.Values)
	if err != nil {
		return 0, err
	}
	former, err := readRecord(ctx, c, opts.Values.Namespace)
	if err != nil {
		return 0, err
	}
	if err := refuseDowngrade(ctx, c, former, opts); err != nil {
		return 0, err
	}
	// A record that cannot be read is no reason not to install.
	next.good, _ = goodOf(former)
	changed, err = carryOut(ctx, c, next, former, opts)
	if err == nil || opts.DryRun {
		return changed, err
	}
	return changed, afterFailure(ctx, c, err, next, former, opts)
}

// carryOut applies an installation, deletes what the former one had beside, and
// waits.
func carryOut(ctx context.Context, c *kube.Client, next *installation, former *corev1.ConfigMap, opts Options) (changed int, err error) {
	rec, err := next.record()
	if err != nil {
		return 0, err
	}
	old := dropped(former, append(slices.Clone(next.objs), rec))
	total := len(next.objs) + 1
	// The record is written after the namespace and before the rest: an
	// installation that breaks off can be taken out whole.
	for i, o := range slices.Insert(slices.Clone(next.objs), 1, rec) {
		change, err := applyOne(ctx, c, o, opts)
		if err != nil {
			return changed, &PartialError{Namespace: next.namespace, Applied: i, Total: total, Err: err}
		}
		if change != kube.Unchanged {
			changed++
		}
		opts.Observer.applied(kube.ObjectName(o), change)
	}
	n, err := pruneObjects(ctx, c, old, opts)
	if changed += n; err != nil {
		return changed, err
	}
	if opts.DryRun || !opts.Wait {
		return changed, nil
	}
	if err := waitReady(ctx, c, next.namespace, opts); err != nil {
		return changed, err
	}
	// From now on this is what to go back to.
	next.good = next.asGood()
	if rec, err = next.record(); err != nil {
		return changed, err
	}
	if _, err := c.Apply(ctx, rec, false, opts.Force); err != nil {
		return changed, err
	}
	return changed, nil
}

func applyOne(ctx context.Context, c *kube.Client, o *unstructured.Unstructured, opts Options) (kube.Change, error) {
	if o.GetKind() == "Namespace" {
		theirs, err := foreignNamespace(ctx, c, o.GetName(), opts)
		if err != nil {
			return "", err
		}
		if theirs {
			// Our labels would force PodSecurity restricted on other people's pods.
			return kube.Unchanged, nil
		}
	}
	change, err := c.Apply(ctx, o, opts.DryRun, opts.Force)
	if err != nil && opts.DryRun && apierrors.IsNotFound(err) && o.GetKind() != "Namespace" {
		// A server-side dry run cannot create in a namespace that is only about to
		// exist.
		return kube.Created, nil
	}
	if err != nil {
		return "", explainApply(err, o)
	}
	return change, nil
}

// pruneObjects deletes what an earlier installation made and this one does not
// render any more. An object that lost our label is somebody else's now.
func pruneObjects(ctx context.Context, c *kube.Client, old []*unstructured.Unstructured, opts Options) (deleted int, err error) {
	for _, o := range old {
		mine, err := isOurs(ctx, c, o)
		if err != nil {
			return deleted, err
		}
		if !mine {
			continue
		}
		change := kube.Deleted
		if !opts.DryRun {
			if change, err = c.Delete(ctx, o); err != nil {
				return deleted, err
			}
		}
		if change == kube.Deleted {
			deleted++
		}
		opts.Observer.applied(kube.ObjectName(o), change)
	}
	return deleted, nil
}

// foreignNamespace says whether the namespace exists and was not made by us. One
// that is terminating is waited for.
func foreignNamespace(ctx context.Context, c *kube.Client, name string, opts Options) (bool, error) {
	ns, err := c.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, kube.Explain(err)
	}
	if ns.DeletionTimestamp != nil {
		wait, cancel := opts.bound(ctx)
		defer cancel()
		return false, waitNamespaceGone(wait, c, name, opts.Observer)
	}
	return ns.Labels[managedBy] != kube.FieldManager, nil
}

func explainApply(err error, o *unstructured.Unstructured) error {
	if apierrors.IsInvalid(err) && o.GetKind() == "StatefulSet" && strings.Contains(err.Error(), "updates to statefulset spec") {
		return fmt.Errorf("statefulset/%s: this cannot be changed in place (the volume's size or class): %w\n"+
			"  keep the old values, or: %s (the logs stay unless --purge), then install again", o.GetName(), err, Command(o.GetNamespace(), "uninstall"))
	}
	return err
}
