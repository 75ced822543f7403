package podlogs

import (
	"context"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// fakeAPI is the API of client-go's fake.
type fakeAPI struct{ client *fake.Clientset }

func (f fakeAPI) ListWatch(resource, namespace string) cache.ListerWatcher {
	core := f.client.CoreV1()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			if resource == "namespaces" {
				return core.Namespaces().List(ctx, o)
			}
			return core.Pods(namespace).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			if resource == "namespaces" {
				return core.Namespaces().Watch(ctx, o)
			}
			return core.Pods(namespace).Watch(ctx, o)
		},
	}
	return cache.ToListWatcherWithWatchListSemantics(lw, f.client)
}

func (f fakeAPI) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return f.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (f fakeAPI) Review(ctx context.Context, r *authv1.SelfSubjectAccessReview) (*authv1.SelfSubjectAccessReview, error) {
	return f.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, r, metav1.CreateOptions{})
}
