package rig

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// faults is what is wrong with a kubelet at the moment.
type faults struct {
	badCertificate bool
	amnesia        bool
	runtimeDown    bool
	blind          bool
	noLogs         bool
	failStatus     int
	failText       string
	failLeft       int
	inBand         []*InBand
}

// InBand puts an error text into a good answer: the kubelet has flushed the
// header by then, so the text follows the log bytes without a newline, and the
// answer ends.
type InBand struct {
	// Text is the error, for example "failed to create fsnotify watcher: too
	// many open files".
	Text string
	// AfterBytes is how much of the log goes out before it; 0 puts the text at
	// the start. An answer that is shorter stays good.
	AfterBytes int64
	// Container restricts the fault to containers of this name.
	Container string
	// Follow restricts the fault to requests with follow=true.
	Follow bool
	// Times is how many answers end with the text before the fault is over; 0
	// means every one until [Kubelet.Heal]. Answers that are under way together
	// may make it one more.
	Times int

	fired int
}

// verdict is what the faults decide about one request.
type verdict struct {
	status int
	err    error
	inBand *InBand
}

// InjectInBand adds a fault; several may be active, the first that matches counts.
func (k *Kubelet) InjectInBand(f InBand) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults.inBand = append(k.faults.inBand, &f)
}

// Fail answers the next n requests (n < 0: all until [Kubelet.Heal]) with an
// HTTP status and text, without looking at them. The API server passes the
// status on as a Status object.
func (k *Kubelet) Fail(n, status int, text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults.failLeft, k.faults.failStatus, k.faults.failText = n, status, text
}

// SetUntrustedCertificate makes the kubelet serve a certificate of a foreign
// authority, as kubeadm clusters with self-signed kubelets do; the API server
// then answers 500 with an x509 error. Open connections are cut.
func (k *Kubelet) SetUntrustedCertificate(on bool) {
	k.mu.Lock()
	k.faults.badCertificate = on
	k.mu.Unlock()
	k.CloseConnections()
}

// SetAmnesia makes the kubelet answer 404 "pod does not exist" to everything, as
// right after its own restart or right after scheduling.
func (k *Kubelet) SetAmnesia(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults.amnesia = on
}

// SetRuntimeDown makes the container runtime unavailable: new requests fail
// inside a good answer, open follows go on.
func (k *Kubelet) SetRuntimeDown(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults.runtimeDown = on
}

// SetBlind makes new follows miss every rotation, as those of kubelets before 1.29
// do: they watch the file and not its directory (kubernetes/kubernetes#115702).
func (k *Kubelet) SetBlind(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults.blind = on
}

func (k *Kubelet) isBlind() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.faults.blind
}

// Heal removes every fault; it does not start a stopped kubelet.
func (k *Kubelet) Heal() {
	k.mu.Lock()
	bad := k.faults.badCertificate
	k.faults = faults{}
	k.mu.Unlock()
	if bad {
		k.CloseConnections()
	}
}

// admit finds the pod and applies the faults and the kubelet's 404 rules.
func (k *Kubelet) admit(namespace, name, container string, follow bool) (*Pod, verdict) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := &k.faults
	if f.failLeft != 0 {
		if f.failLeft > 0 {
			f.failLeft--
		}
		return nil, verdict{status: f.failStatus, err: errors.New(f.failText)}
	}
	pod, ok := k.pods[namespace+"/"+name]
	if !ok || f.amnesia {
		return nil, verdict{status: http.StatusNotFound, err: fmt.Errorf("pod %q does not exist", name)}
	}
	if pod.Container(container) == nil {
		return nil, verdict{status: http.StatusNotFound, err: fmt.Errorf("container %q not found in pod %q", container, name)}
	}
	for _, ib := range f.inBand {
		if ib.Container != "" && ib.Container != container || ib.Follow && !follow || ib.Times > 0 && ib.fired >= ib.Times {
			continue
		}
		return pod, verdict{inBand: ib}
	}
	return pod, verdict{}
}

func (k *Kubelet) fired(f *InBand) {
	k.injected.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	f.fired++
}

// inBandWriter passes left bytes and then fails with the text that the kubelet
// will append.
type inBandWriter struct {
	w    io.Writer
	left int64
	err  error
}

func (w *inBandWriter) Write(p []byte) (int, error) {
	if w.left <= 0 {
		if len(p) == 0 { // the zero-byte write that sends the header
			return w.w.Write(p)
		}
		return 0, w.err
	}
	if int64(len(p)) <= w.left {
		n, err := w.w.Write(p)
		w.left -= int64(n)
		return n, err
	}
	n, err := w.w.Write(p[:w.left])
	w.left = 0
	if err != nil {
		return n, err
	}
	return n, w.err
}
