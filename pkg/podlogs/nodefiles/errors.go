package nodefiles

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
)

// Kind sorts failures by what can be done about them.
type Kind string

// The kinds of failures. All but KindNotFound, KindBusy and KindFormat are of the
// whole node.
const (
	KindDisabled    Kind = "disabled"    // the kubelet does not serve /logs/
	KindDenied      Kind = "denied"      // the token was not accepted, or may not get nodes/log
	KindCertificate Kind = "certificate" // the kubelet's certificate is not trusted
	KindUnreachable Kind = "unreachable" // no answer
	KindToken       Kind = "token"       // no token to ask with
	KindFailed      Kind = "failed"      // another status
	KindNotFound    Kind = "not_found"   // no such file or directory
	KindBusy        Kind = "busy"        // too many requests
	KindFormat      Kind = "format"      // no CRI log files, or names that cannot be asked for
)

// Kinds are all of them.
var Kinds = []Kind{
	KindDisabled, KindDenied, KindCertificate, KindUnreachable, KindToken, KindFailed, KindNotFound, KindBusy, KindFormat,
}

// Error is a failure of a [Client]. Its text says what to do.
type Error struct {
	Kind Kind
	err  error
}

func (e *Error) Error() string { return e.err.Error() }
func (e *Error) Unwrap() error { return e.err }

// OfNode says that the node's other files cannot be read either.
func (e *Error) OfNode() bool {
	return e.Kind != KindNotFound && e.Kind != KindBusy && e.Kind != KindFormat
}

// KindOf is the kind of an error of this package, "" for others.
func KindOf(err error) Kind {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Kind
	}
	if errors.Is(err, ErrFormat) {
		return KindFormat
	}
	return ""
}

// NotFound is an error of KindNotFound.
func NotFound(text string) error { return &Error{Kind: KindNotFound, err: errors.New(text)} }

// Refused is the error of an answer with this status, for tests of those who use
// a [Client].
func Refused(status int) error { return statusError(Dir{Node: "node"}, status, "") }

// statusError is an answer that is not what was asked for.
func statusError(d Dir, status int, body string) error {
	kind, what := KindFailed, fmt.Sprintf("the kubelet of node %s answers %d", d.Node, status)
	switch status {
	case http.StatusMethodNotAllowed:
		kind, what = KindDisabled, fmt.Sprintf("the kubelet of node %s does not serve /logs/: set enableSystemLogHandler and enableDebuggingHandlers to true in its configuration", d.Node)
	case http.StatusUnauthorized:
		kind, what = KindDenied, fmt.Sprintf("the kubelet of node %s does not accept the token: it needs authentication.webhook.enabled", d.Node)
	case http.StatusForbidden:
		kind, what = KindDenied, fmt.Sprintf("the kubelet of node %s refuses the token: bind the service account to the ClusterRole logstack-node-logs (get nodes/log)", d.Node)
	case http.StatusNotFound:
		kind, what = KindNotFound, fmt.Sprintf("node %s has no such file", d.Node)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		kind = KindBusy
	}
	if body != "" && kind == KindFailed {
		what += ": " + body
	}
	return &Error{Kind: kind, err: errors.New(what)}
}

// transportError is a request that brought no answer.
func transportError(d Dir, err error) error {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	if errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &verify) {
		return &Error{Kind: KindCertificate, err: fmt.Errorf("the certificate of node %s's kubelet is not trusted: %w: "+
			"let the cluster sign it (serverTLSBootstrap), name its authority with --node-files-ca-file, or accept any with --node-files-insecure-skip-tls-verify", d.Node, err)}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Kind: KindUnreachable, err: fmt.Errorf("the kubelet of node %s cannot be reached: %w", d.Node, err)}
}
