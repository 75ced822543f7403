package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// TestWait: --wait looks again while something may mend itself, tells each new
// reason once, and ends at once when nothing does any more, when nothing but a
// person can mend it, or when the time is over.
func TestWait(t *testing.T) {
	rollout := func(detail string) doctor.Finding {
		return doctor.Finding{Code: "LS0410", Status: doctor.Error, Object: "statefulset/logstack/logstack", Detail: detail}
	}
	pull := func(detail string) doctor.Finding {
		return doctor.Finding{Code: "LS0403", Status: doctor.Error, Object: "pod/x", Detail: detail}
	}
	for name, tc := range map[string]struct {
		wait  time.Duration
		looks []doctor.Finding // the last one stays
		took  time.Duration
		said  []string
	}{
		"no wait":           {0, []doctor.Finding{rollout("0 of 1 replicas are ready")}, 0, nil},
		"nothing is wrong":  {time.Minute, []doctor.Finding{{Code: "LS0410", Status: doctor.OK}}, 0, nil},
		"a person's matter": {time.Minute, []doctor.Finding{{Code: "LS0501", Status: doctor.Error}}, 0, nil},
		"it mends itself": {time.Minute, []doctor.Finding{rollout("0 of 2 replicas are ready"), rollout("1 of 2 replicas are ready"), rollout("1 of 2 replicas are ready"), {Code: "LS0410", Status: doctor.OK}}, 15 * time.Second,
			[]string{"LS0410 statefulset/logstack/logstack: 0 of 2 replicas are ready", "LS0410 statefulset/logstack/logstack: 1 of 2 replicas are ready"}},
		"it never does": {12 * time.Second, []doctor.Finding{rollout("0 of 1 replicas are ready")}, 10 * time.Second, []string{"LS0410 statefulset/logstack/logstack: 0 of 1 replicas are ready"}},
		"it ends": {time.Hour, []doctor.Finding{pull("ErrImagePull i/o timeout"), pull("ImagePullBackOff manifest unknown: not found")}, 5 * time.Second,
			[]string{"LS0403 pod/x: ErrImagePull i/o timeout"}},
		"no room":        {time.Hour, []doctor.Finding{{Code: "LS0404", Status: doctor.Error, Detail: "0/1 nodes are available: 1 Insufficient memory."}}, 0, nil},
		"a node is made": {12 * time.Second, []doctor.Finding{{Code: "LS0404", Status: doctor.Error, Detail: "1 Insufficient memory.; the autoscaler is adding a node"}}, 10 * time.Second, []string{"LS0404 : 1 Insufficient memory.; the autoscaler is adding a node"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started, n := time.Now(), 0
				var said []string
				_, r, err := lookAgain(t.Context(), tc.wait, func(s string) { said = append(said, s) }, func(context.Context) (*snapshot.Snapshot, *doctor.Report, error) {
					f := tc.looks[min(n, len(tc.looks)-1)]
					n++
					return nil, &doctor.Report{Findings: []doctor.Finding{f}}, nil
				})
				if err != nil || r.Findings[0].Detail != tc.looks[len(tc.looks)-1].Detail {
					t.Errorf("%v %+v", err, r)
				}
				if took := time.Since(started); took != tc.took {
					t.Errorf("it took %s, want %s", took, tc.took)
				}
				if !slices.Equal(said, tc.said) {
					t.Errorf("%q", said)
				}
			})
		})
	}
}

// TestWaitInterrupted: Ctrl-C ends the wait at once, a failed look as well.
func TestWaitInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(7*time.Second, cancel)
		started := time.Now()
		_, _, err := lookAgain(ctx, time.Hour, func(string) {}, func(context.Context) (*snapshot.Snapshot, *doctor.Report, error) {
			return nil, &doctor.Report{Findings: []doctor.Finding{{Code: "LS0410", Status: doctor.Error}}}, nil
		})
		if !errors.Is(err, context.Canceled) || time.Since(started) != 7*time.Second {
			t.Errorf("%v after %s", err, time.Since(started))
		}
		broken := errors.New("broken")
		if _, _, err := lookAgain(t.Context(), time.Hour, func(string) {}, func(context.Context) (*snapshot.Snapshot, *doctor.Report, error) { return nil, nil, broken }); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}
