package rig

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// nodeLogs is the kubelet's /logs/ endpoint (ServeLogs of pkg/kubelet): Go's
// file server over the node's /var/log, of which a rig has pods/ only. All nodes
// of a rig show the same files.
//
// A real kubelet asks the API server who a token belongs to (TokenReview) and
// whether that may get nodes/log (SubjectAccessReview, pkg/kubelet/server/auth.go);
// so does this one, without the cache.
type nodeLogs struct {
	node   string
	client kubernetes.Interface
	files  http.Handler
}

func newNodeLogs(r *Rig, node string) *nodeLogs {
	return &nodeLogs{
		node: node, client: r.client,
		files: http.StripPrefix("/logs/pods/", http.FileServer(http.Dir(filepath.Join(r.dir, "pods")))),
	}
}

// logs serves /logs/.
func (k *Kubelet) logs(w http.ResponseWriter, req *http.Request) {
	k.fileRequests.Add(1)
	k.mu.Lock()
	off, left, status, text := k.faults.noLogs, k.faults.failLeft, k.faults.failStatus, k.faults.failText
	k.mu.Unlock()
	switch {
	case k.nodeLogs == nil || off:
		// getHandlerForDisabledEndpoint
		http.Error(w, "logs endpoint is disabled.", http.StatusMethodNotAllowed)
		return
	case left != 0:
		http.Error(w, text, status)
		return
	}
	if status, err := k.nodeLogs.allow(req); err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	k.nodeLogs.files.ServeHTTP(w, req)
}

// allow is authentication and authorization of one request.
func (n *nodeLogs) allow(req *http.Request) (int, error) {
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return http.StatusUnauthorized, errors.New("Unauthorized") //nolint:staticcheck // the kubelet's own word
	}
	ctx, cancel := context.WithTimeout(req.Context(), etcdTimeout)
	defer cancel()
	who, err := n.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	if err != nil || !who.Status.Authenticated {
		return http.StatusUnauthorized, errors.New("Unauthorized") //nolint:staticcheck // the kubelet's own word
	}
	may, err := n.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: who.Status.User.Username, UID: who.Status.User.UID, Groups: who.Status.User.Groups,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: "get", Version: "v1", Resource: "nodes", Subresource: "log", Name: n.node,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil || !may.Status.Allowed {
		return http.StatusForbidden, errors.New("Forbidden (user=" + who.Status.User.Username + ", verb=get, resource=nodes, subresource=log)")
	}
	return 0, nil
}

// SetLogsDisabled makes the kubelet answer /logs/ as one with
// enableSystemLogHandler: false.
func (k *Kubelet) SetLogsDisabled(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults.noLogs = on
}

// FileRequests returns how many requests for /logs/ have arrived.
func (k *Kubelet) FileRequests() int64 { return k.fileRequests.Load() }

// Port is where the kubelet itself listens, without [Node.Link].
func (k *Kubelet) Port() int { return k.port }
