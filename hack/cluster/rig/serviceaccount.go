package rig

import (
	"context"
	"fmt"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// CollectorRules are the rights of the collector's ClusterRole in the manifests,
// which a test compares.
func CollectorRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"pods/log"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"namespaces", "events"}, Verbs: []string{"list", "watch"}},
	}
}

// ServiceAccount asks [Rig.ServiceAccount] for an account.
type ServiceAccount struct {
	Namespace string // "logstack" when empty; created when missing
	Name      string // "logstack-collector" when empty
	// Rules are granted in the whole cluster; nil means [CollectorRules].
	Rules []rbacv1.PolicyRule
	// Namespaces restricts the rules to these, which are created when missing:
	// a Role in each, and no ClusterRole.
	Namespaces []string
	// Server is the URL to put into the kubeconfig, for a [Proxy]; empty means
	// the API server itself.
	Server string
}

// ServiceAccount creates a service account with exactly the given rights and
// returns the path of a kubeconfig that holds a token of it. Calling it again
// with the same name replaces the rights and makes a new file.
func (r *Rig) ServiceAccount(ctx context.Context, sa ServiceAccount) (string, error) {
	if sa.Namespace == "" {
		sa.Namespace = "logstack"
	}
	if sa.Name == "" {
		sa.Name = "logstack-collector"
	}
	if sa.Rules == nil {
		sa.Rules = CollectorRules()
	}
	if sa.Server == "" {
		sa.Server = r.URL()
	}
	if err := r.ensureNamespace(ctx, sa.Namespace); err != nil {
		return "", err
	}
	accounts := r.client.CoreV1().ServiceAccounts(sa.Namespace)
	_, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: sa.Name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("service account %s: %w", sa.Name, err)
	}
	if err := r.grant(ctx, sa); err != nil {
		return "", fmt.Errorf("service account %s: %w", sa.Name, err)
	}
	day := int64(24 * 60 * 60)
	token, err := accounts.CreateToken(ctx, sa.Name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("service account %s: token: %w", sa.Name, err)
	}
	return r.writeTokenKubeconfig(sa, token.Status.Token)
}

func (r *Rig) grant(ctx context.Context, sa ServiceAccount) error {
	name := sa.Namespace + "-" + sa.Name
	if len(sa.Namespaces) > 0 {
		for _, ns := range sa.Namespaces {
			if err := r.grantIn(ctx, ns, name, sa); err != nil {
				return err
			}
		}
		return nil
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: sa.Rules}
	roles := r.client.RbacV1().ClusterRoles()
	_, err := roles.Create(ctx, role, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
	}
	if err != nil {
		return err
	}
	_, err = r.client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: sa.Namespace, Name: sa.Name}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// grantIn gives the rights in one namespace.
func (r *Rig) grantIn(ctx context.Context, namespace, name string, sa ServiceAccount) error {
	if err := r.ensureNamespace(ctx, namespace); err != nil {
		return err
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: sa.Rules}
	roles := r.client.RbacV1().Roles(namespace)
	_, err := roles.Create(ctx, role, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
	}
	if err != nil {
		return err
	}
	_, err = r.client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: sa.Namespace, Name: sa.Name}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (r *Rig) writeTokenKubeconfig(sa ServiceAccount, token string) (string, error) {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["rig"] = &clientcmdapi.Cluster{Server: sa.Server, CertificateAuthorityData: r.ca.CertPEM()}
	cfg.AuthInfos["rig"] = &clientcmdapi.AuthInfo{Token: token}
	cfg.Contexts["rig"] = &clientcmdapi.Context{Cluster: "rig", AuthInfo: "rig", Namespace: sa.Namespace}
	cfg.CurrentContext = "rig"
	path := filepath.Join(r.dir, sa.Name+".kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		return "", fmt.Errorf("service account %s: %w", sa.Name, err)
	}
	return path, nil
}
