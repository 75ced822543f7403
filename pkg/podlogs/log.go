package podlogs

import (
	"log/slog"
	"sync"
	"time"
)

const (
	logEvery  = time.Minute
	logKeys   = 4096
	logPerMin = 120
)

// limitedLog writes a message of one key once a minute, and not more than
// logPerMin in all: the collector collects its own log too, and must not answer
// every line with a line.
type limitedLog struct {
	log *slog.Logger

	mu         sync.Mutex
	last       map[string]time.Time
	window     time.Time
	inWindow   int
	suppressed int
}

func newLimitedLog(l *slog.Logger) *limitedLog {
	return &limitedLog{log: l, last: make(map[string]time.Time)}
}

func (l *limitedLog) warn(key, msg string, args ...any) {
	if ok, suppressed := l.allow(key); ok {
		if suppressed > 0 {
			args = append(args, "suppressed", suppressed)
		}
		l.log.Warn(msg, args...)
	}
}

func (l *limitedLog) allow(key string) (ok bool, suppressed int) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.window) >= time.Minute {
		l.window, l.inWindow = now, 0
	}
	if t, seen := l.last[key]; seen && now.Sub(t) < logEvery || l.inWindow >= logPerMin {
		l.suppressed++
		return false, 0
	}
	if len(l.last) >= logKeys {
		clear(l.last)
	}
	l.last[key] = now
	l.inWindow++
	suppressed, l.suppressed = l.suppressed, 0
	return true, suppressed
}
