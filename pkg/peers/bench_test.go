package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// benchCluster has the lines of 30 streams at three replicas, each stream at one
// of them; shared is the part of the lines, in percent, that a second one has too.
func benchCluster(b *testing.B, shared int) ([]*replica, int) {
	const streams, each = 30, 10_000
	c := newCluster(b, 3, nil)
	for i := range streams {
		ls := labels.FromStrings("app", "shop", "pod", fmt.Sprint("shop-", i))
		var es []model.Entry
		for k := range each {
			es = append(es, model.Entry{
				Timestamp: 1e18 + int64(k)*1e7 + int64(i), Metadata: labels.FromStrings("detected_level", []string{"info", "error"}[k%17/16]),
				Line: fmt.Sprintf(`{"level":"info","caller":"cart.go:%d","order":%d,"user":"u%06d","took":"%dms","msg":"order placed"}`, k%40, k, k*7919%1_000_000, k%500),
			})
		}
		push(b, c[i%3].db, ls, es...)
		if n := each * shared / 100; n > 0 {
			push(b, c[(i+1)%3].db, ls, es[each-n:]...)
		}
	}
	for _, r := range c {
		if err := r.db.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	return c, streams * each
}

// drain reads an iterator to its end and counts.
func drain(b *testing.B, it model.BatchIterator, err error) (n int) {
	if err != nil {
		b.Fatal(err)
	}
	for {
		batch, err := it.Next(context.Background())
		if errors.Is(err, io.EOF) {
			if err := it.Close(); err != nil {
				b.Fatal(err)
			}
			return n
		}
		if err != nil {
			b.Fatal(err)
		}
		if batch.Counts == nil {
			n += batch.Len()
		}
		for _, k := range batch.Counts {
			n += int(k)
		}
	}
}

// BenchmarkSelect reads a third of the lines from the local store alone, and all of
// them from three replicas over loopback.
func BenchmarkSelect(b *testing.B) {
	for _, shared := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("shared=%d%%", shared), func(b *testing.B) {
			c, lines := benchCluster(b, shared)
			for _, r := range []struct {
				name string
				req  model.SelectRequest
			}{
				{"ordered", model.SelectRequest{}},
				{"unordered", model.SelectRequest{Unordered: true}},
				{"counts", model.SelectRequest{Unordered: true, TimesOnly: true, CountStep: 60e9}},
				{"needle", model.SelectRequest{Unordered: true, Contains: []string{"u031676"}}},
				{"newest100", model.SelectRequest{BatchRows: 100}},
			} {
				r.req.Range = model.AllTime()
				for _, from := range []string{"local", "peers"} {
					b.Run(r.name+"/"+from, func(b *testing.B) {
						n := 0
						for b.Loop() {
							if from == "local" {
								it, err := c[0].db.Select(context.Background(), r.req)
								n += drainOr(b, r.name, it, err)
							} else {
								it, err := c[0].peers.Select(context.Background(), r.req)
								n += drainOr(b, r.name, it, err)
							}
						}
						b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "lines/s")
						if got := n / b.N; from == "peers" && r.name != "needle" && r.name != "newest100" && got != lines {
							b.Fatalf("%d lines, want %d", got, lines)
						}
					})
				}
			}
		})
	}
}

func drainOr(b *testing.B, name string, it model.BatchIterator, err error) int {
	if name != "newest100" {
		return drain(b, it, err)
	}
	if err != nil {
		b.Fatal(err)
	}
	batch, err := it.Next(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	n := batch.Len()
	if err := it.Close(); err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkLeave hands 100,000 lines over to two replicas.
func BenchmarkLeave(b *testing.B) {
	for range b.N {
		b.StopTimer()
		c, _ := benchCluster(b, 1)
		b.StartTimer()
		if err := c[0].peers.leaveOnce(context.Background()); err != nil {
			b.Fatal(err)
		}
		st := c[0].peers.LeaveStatus()
		b.ReportMetric(float64(st.Shipped)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
	}
}
