package peers

import "sync"

// leaving is how far this replica has come in leaving for good.
type leaving struct {
	mu sync.Mutex
	at string
}

// state is active, leaving or left.
func (l *leaving) state() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == "" {
		return stateActive
	}
	return l.at
}
