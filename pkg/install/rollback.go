package install

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// PartialError says how far a run came that could not go on.
type PartialError struct {
	Namespace      string
	Applied, Total int
	Err            error
}

func (e *PartialError) Error() string {
	if e.Applied == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v\n  %d of %d objects are applied: run the same command again to go on, or take them out: %s", e.Err, e.Applied, e.Total, Command(e.Namespace, "uninstall"))
}

// Unwrap returns what kept the run from going on.
func (e *PartialError) Unwrap() error { return e.Err }

// DowngradeError says that the data of an installation is of a format that the
// collector of this program does not know.
type DowngradeError struct {
	Namespace    string
	Found, Known int
	// Version is the release that wrote it, "" where it is not known.
	Version string
}

func (e *DowngradeError) Error() string {
	by := "a newer release"
	if e.Version != "" {
		by = e.Version
	}
	return fmt.Sprintf("the stored logs are of format %d, which %s wrote, and the collector of %s knows formats up to %d: it would not start\n"+
		"  use that release or a newer one: kubectl krew upgrade logstack; to go back, give the logs up: %s",
		e.Found, by, version.Version, e.Known, Command(e.Namespace, "uninstall --purge"))
}

// storeFormat is an annotation of the StatefulSet: installations by GitOps have
// no record.
const storeFormat = "logstack.dev/store-format"

// refuseDowngrade looks for data that this program's collector cannot read. What
// the running collector says of its data counts; else what it may have written.
func refuseDowngrade(ctx context.Context, c *kube.Client, former *corev1.ConfigMap, opts Options) error {
	found, by := opts.StoreFormat, ""
	if former != nil {
		by = former.Data[recordVersion]
	}
	set, err := c.Kube.AppsV1().StatefulSets(opts.Values.Namespace).Get(ctx, Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		// Its volume may still be there, with the record gone: the collector itself
		// refuses data that it does not know.
		return nil
	case err != nil:
		return kube.Explain(err)
	case len(set.Spec.VolumeClaimTemplates) == 0:
		return nil // the data goes with the pod
	}
	if found == 0 {
		found, _ = strconv.Atoi(set.Annotations[storeFormat])
	}
	if found > version.StoreFormat {
		return &DowngradeError{Namespace: opts.Values.Namespace, Found: found, Known: version.StoreFormat, Version: by}
	}
	return nil
}

// ErrNothingGood is returned by Rollback where nothing is known to go back to.
var ErrNothingGood = errors.New("there is nothing to go back to: no earlier run of this installation is known to have become ready")

// Rollback applies what was ready the last time, as it was then.
func Rollback(ctx context.Context, c *kube.Client, opts Options) (changed int, err error) {
	record, err := readRecord(ctx, c, opts.Values.Namespace)
	if err != nil {
		return 0, err
	}
	good, err := goodOf(record)
	if err != nil {
		return 0, err
	}
	if good == nil {
		return 0, ErrNothingGood
	}
	if err := good.reads(opts.StoreFormat); err != nil {
		return 0, err
	}
	return goBack(ctx, c, good, record, opts)
}

// reads says whether the collector of a state can read data of a format, as the
// running collector tells it; 0 is not known, and left to the collector itself.
func (g *goodState) reads(format int) error {
	if format <= g.format {
		return nil
	}
	for _, o := range g.objs {
		if claims, _, _ := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates"); o.GetKind() == "StatefulSet" && len(claims) == 0 {
			return nil // the data goes with the pod
		}
	}
	return fmt.Errorf("not rolled back: the stored logs are of format %d, and %s, which was ready before, knows formats up to %d: it would not start\n"+
		"  go on with the newer release: kubectl krew upgrade logstack", format, g.version, g.format)
}

func goBack(ctx context.Context, c *kube.Client, good *goodState, record *corev1.ConfigMap, opts Options) (changed int, err error) {
	back := &installation{namespace: opts.Values.Namespace, values: good.values, version: good.version, format: good.format, objs: good.objs, good: good}
	// What this run applied is ours, whoever had it before.
	opts.Force = true
	return carryOut(ctx, c, back, record, opts)
}

// rollbackTimeout bounds a rollback whose run had no bound.
const rollbackTimeout = 5 * time.Minute

// RolledBackError says that a run failed and what was before is back.
type RolledBackError struct {
	Err error
	// Version that runs again; "" when the installation was new and was taken out.
	Version string
}

func (e *RolledBackError) Error() string {
	if e.Version == "" {
		return fmt.Sprintf("%v\nwhat was new has been taken out again", e.Err)
	}
	return fmt.Sprintf("%v\nrolled back: what was ready before (%s) is ready again", e.Err, e.Version)
}

// Unwrap returns why the run failed.
func (e *RolledBackError) Unwrap() error { return e.Err }

// afterFailure goes back, or says how.
func afterFailure(ctx context.Context, c *kube.Client, failure error, next *installation, former *corev1.ConfigMap, opts Options) error {
	good, goodErr := goodOf(former)
	if ctx.Err() != nil {
		return failure // who pressed Ctrl-C wants an end
	}
	if !opts.Rollback {
		if good != nil && goodErr == nil {
			return fmt.Errorf("%w\n  go back to what was ready before (%s): %s", failure, good.version, Command(next.namespace, "upgrade --rollback"))
		}
		return failure
	}
	if opts.Timeout <= 0 {
		opts.Timeout = rollbackTimeout
	}
	opts.Observer.note("rolling back: " + firstLine(failure.Error()))
	switch {
	case former == nil:
		wait, cancel := opts.bound(ctx)
		defer cancel()
		kept, err := Uninstall(wait, c, next.namespace, false, opts.Observer)
		if err != nil {
			return fmt.Errorf("%w\n  and taking it out again failed: %w", failure, err)
		}
		for _, k := range kept {
			opts.Observer.note("kept: " + k)
		}
		return &RolledBackError{Err: failure}
	case goodErr != nil:
		return fmt.Errorf("%w\n  and what was before cannot be read: %w", failure, goodErr)
	case good == nil:
		return fmt.Errorf("%w\n  and %w", failure, ErrNothingGood)
	case good.format < next.format && opts.StoreFormat > good.format:
		return fmt.Errorf("%w\n  not rolled back: the new collector may have written data of format %d, and %s knows formats up to %d", failure, next.format, good.version, good.format)
	}
	// The record of the failed run says what it made beside.
	record, err := readRecord(ctx, c, next.namespace)
	if err != nil {
		return fmt.Errorf("%w\n  and rolling back failed: %w", failure, err)
	}
	opts.Wait = true
	if _, err := goBack(ctx, c, good, record, opts); err != nil {
		return fmt.Errorf("%w\n  and rolling back to %s failed: %w", failure, good.version, err)
	}
	return &RolledBackError{Err: failure, Version: good.version}
}
