package rig

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is a TCP proxy with faults. TLS passes through it unopened: the
// certificates here are for 127.0.0.1, whatever the port. Its methods may be
// called from several goroutines and act on open connections too.
type Proxy struct {
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	rate      atomic.Int64 // bytes per second towards the client, 0 = unlimited
	accepted  atomic.Int64
	delivered atomic.Int64

	mu     sync.Mutex
	links  map[*link]struct{}
	hole   chan struct{} // non-nil while bytes are swallowed; closed at the end
	refuse bool
	closed bool
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	frozen         atomic.Bool
	gone           chan struct{} // closed with the connections
	once           sync.Once
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.gone)
		l.client.Close()
		l.server.Close()
	})
}

func startProxy(ln net.Listener, target string) *Proxy {
	p := &Proxy{ln: ln, target: target, links: map[*link]struct{}{}}
	p.wg.Go(p.accept)
	return p
}

// Addr is host:port of the proxy.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// URL is the proxy as an https URL.
func (p *Proxy) URL() string { return "https://" + p.Addr() }

// SetRate limits what each connection delivers to its client, in bytes per
// second; 0 lifts the limit. The server behind feels it through full socket
// buffers, as through a thin link.
func (p *Proxy) SetRate(bytesPerSecond int64) { p.rate.Store(bytesPerSecond) }

// Cut closes every open connection and returns how many there were. New ones are
// accepted.
func (p *Proxy) Cut() int {
	links := p.open()
	for _, l := range links {
		l.close()
	}
	return len(links)
}

// Freeze lets no more byte through the connections that are open now, and does
// not close them, as a firewall does that forgets them. New ones work.
func (p *Proxy) Freeze() int {
	links := p.open()
	for _, l := range links {
		l.frozen.Store(true)
	}
	return len(links)
}

func (p *Proxy) open() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

// SetRefuse makes the proxy close new connections at once.
func (p *Proxy) SetRefuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// SetBlackHole stops every byte in both directions without closing anything, as
// a network does that drops packets. Switching it off lets the bytes go on.
func (p *Proxy) SetBlackHole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.hole == nil:
		p.hole = make(chan struct{})
	case !on && p.hole != nil:
		close(p.hole)
		p.hole = nil
	}
}

// Accepted returns how many connections have been made through the proxy.
func (p *Proxy) Accepted() int64 { return p.accepted.Load() }

// Delivered returns how many bytes have gone to clients.
func (p *Proxy) Delivered() int64 { return p.delivered.Load() }

// Close stops the proxy and cuts its connections.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	p.SetBlackHole(false)
	err := p.ln.Close()
	p.Cut()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	refuse := p.refuse || p.closed
	p.mu.Unlock()
	if refuse {
		return
	}
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	l := &link{client: client, server: server, gone: make(chan struct{})}
	defer l.close()
	if !p.register(l) {
		return
	}
	defer p.unregister(l)
	p.accepted.Add(1)
	up := make(chan struct{})
	go func() {
		defer close(up)
		p.copy(l, server, client, false)
		l.close()
	}()
	p.copy(l, client, server, true)
	l.close()
	<-up
}

func (p *Proxy) register(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) unregister(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// copy moves bytes until either side ends. Small reads keep a rate smooth.
func (p *Proxy) copy(l *link, dst, src net.Conn, toClient bool) {
	buf := make([]byte, 32<<10)
	for {
		part := buf
		rate := p.rate.Load()
		if toClient && rate > 0 {
			part = buf[:min(max(rate/20, 256), int64(len(buf)))]
		}
		n, err := src.Read(part)
		if n > 0 {
			if toClient && rate > 0 {
				time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
			}
			if !p.pass(l) {
				return
			}
			if _, werr := dst.Write(part[:n]); werr != nil {
				return
			}
			if toClient {
				p.delivered.Add(int64(n))
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits while bytes are held back. It returns false when the link is gone.
func (p *Proxy) pass(l *link) bool {
	if l.frozen.Load() {
		<-l.gone
		return false
	}
	p.mu.Lock()
	hole := p.hole
	p.mu.Unlock()
	if hole == nil {
		return true
	}
	select {
	case <-hole:
		return true
	case <-l.gone:
		return false
	}
}
