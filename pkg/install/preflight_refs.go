package install

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// checkReferences looks for what the values name and do not make: a pod with a
// Secret that is not there waits for it without a word. The first thing that may
// not be looked at makes the rest unknown, too, but what was found is told.
func checkReferences(ctx context.Context, s *scene) (out []Problem, skipped error) {
	note := func(err error, object, detail, fix string) {
		switch {
		case apierrors.IsNotFound(err):
			out = append(out, Problem{Object: object, Detail: detail, Fix: fix})
		case err != nil:
			skipped = err
		}
	}
	if name := s.v.PriorityClass; name != "" {
		_, err := s.c.Kube.SchedulingV1().PriorityClasses().Get(ctx, name, metav1.GetOptions{})
		note(err, "priorityclass/"+name, "does not exist: the pods would be refused", "look what there is: kubectl get priorityclasses")
	}
	namespace := func(name, of string) {
		_, err := s.c.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		note(err, "namespace/"+name, "does not exist, and "+of+" names it", "create it, or change "+of)
	}
	for i, name := range s.v.Namespaces {
		if name != s.v.Namespace {
			namespace(name, fmt.Sprintf("namespaces[%d]", i))
		}
	}
	if g := s.v.Grafana.Namespace; g != "" && g != s.v.Namespace {
		namespace(g, "grafana.namespace")
	}
	for i, name := range s.v.Image.PullSecrets {
		_, err := s.secret(ctx, name)
		note(err, "secret/"+name, fmt.Sprintf("does not exist in namespace %s, and image.pullSecrets[%d] names it", s.v.Namespace, i),
			fmt.Sprintf("kubectl create secret docker-registry %s -n %s --docker-server=… --docker-username=… --docker-password=…", name, s.v.Namespace))
	}
	if err := s.checkTLS(ctx, &out); err != nil {
		skipped = err
	}
	if err := s.checkAuth(ctx, &out); err != nil {
		skipped = err
	}
	return out, skipped
}

func (s *scene) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	return s.c.Kube.CoreV1().Secrets(s.v.Namespace).Get(ctx, name, metav1.GetOptions{})
}

// first is what has to be there before a Secret can be made in the namespace.
func (s *scene) first() string {
	if s.namespace == nil {
		return "kubectl create namespace " + s.v.Namespace + " && "
	}
	return ""
}

func (s *scene) checkTLS(ctx context.Context, out *[]Problem) error {
	name := s.v.TLS.SecretName
	if name == "" {
		return nil
	}
	secret, err := s.secret(ctx, name)
	if apierrors.IsNotFound(err) {
		*out = append(*out, Problem{Object: "secret/" + name, Detail: "does not exist in namespace " + s.v.Namespace + ", and tls.secretName names it: the pods would wait for it",
			Fix: fmt.Sprintf("%skubectl create secret tls %s -n %s --cert=FILE --key=FILE; or let cert-manager make it for %s.%s.svc", s.first(), name, s.v.Namespace, Name, s.v.Namespace)})
		return nil
	}
	if err != nil {
		return err
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(secret.Data[key]) == 0 {
			*out = append(*out, Problem{Object: "secret/" + name, Detail: "has no " + key, Fix: "a certificate's Secret has the keys tls.crt and tls.key"})
		}
	}
	if len(secret.Data["ca.crt"]) == 0 && s.v.ServiceMonitor == AutoOn {
		*out = append(*out, Problem{Warning: true, Object: "secret/" + name, Detail: "has no ca.crt: Prometheus will not trust the certificate", Fix: "add the key ca.crt with the authority's certificate, or serviceMonitor: false"})
	}
	return nil
}

func (s *scene) checkAuth(ctx context.Context, out *[]Problem) error {
	name := s.v.Auth.SecretName
	if name == "" {
		return nil
	}
	secret, err := s.secret(ctx, name)
	if apierrors.IsNotFound(err) {
		*out = append(*out, Problem{Object: "secret/" + name, Detail: "does not exist in namespace " + s.v.Namespace + ", and auth.secretName names it: the pods would wait for it",
			Fix: fmt.Sprintf("%skubectl create secret generic %s -n %s --from-literal=token=$(openssl rand -hex 32)", s.first(), name, s.v.Namespace)})
		return nil
	}
	if err != nil {
		return err
	}
	for _, key := range authKeys {
		if len(secret.Data[key]) > 0 {
			return nil
		}
	}
	*out = append(*out, Problem{Object: "secret/" + name, Detail: "has none of the keys " + strings.Join(authKeys, ", ") + ": the collector would not start", Fix: "kubectl create secret generic NAME --from-literal=token=$(openssl rand -hex 32)"})
	return nil
}

// authKeys are the keys of a Secret of credentials; password goes with username.
var authKeys = []string{"token", "htpasswd", "username"}
