package podlogs

import (
	"math"
	"sync"
	"time"
)

// rateWindow is how far back a rate remembers: what came so long ago counts for
// a third.
const rateWindow = time.Minute

// byteRate is how much a container writes, in bytes per second, with older
// bytes counting less and less. It is safe for concurrent use.
type byteRate struct {
	mu    sync.Mutex
	value float64
	at    time.Time
}

func (r *byteRate) add(bytes int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value = r.decayed(now) + float64(bytes)/rateWindow.Seconds()
	r.at = now
}

func (r *byteRate) get(now time.Time) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.decayed(now)
}

func (r *byteRate) decayed(now time.Time) float64 {
	if r.value == 0 {
		return 0
	}
	return r.value * math.Exp(-now.Sub(r.at).Seconds()/rateWindow.Seconds())
}
