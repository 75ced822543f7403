// Command provisioner gives volume claims of one storage class a directory on
// the node: the dynamic provisioning that real clusters have and a bare one
// lacks.
//
// For each pending claim that waits for this provisioner it makes a directory
// and a PersistentVolume of type local, which, other than hostPath, gets the
// group of the pod's fsGroup. When the claim of a volume with reclaim policy
// Delete is gone, it deletes the volume and its directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// Annotations of the provisioning protocol: the volume controller asks the
// provisioner it names, the scheduler names the node, we sign the volume.
const (
	annProvisioner   = "volume.kubernetes.io/storage-provisioner"
	annSelectedNode  = "volume.kubernetes.io/selected-node"
	annProvisionedBy = "pv.kubernetes.io/provisioned-by"
)

// retryInterval is when to look again although nothing has changed, so that a
// failed step is repeated.
const retryInterval = 10 * time.Second

func main() {
	p := provisioner{}
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig `file`")
	flag.StringVar(&p.dir, "dir", "", "`directory` that holds the volumes")
	flag.StringVar(&p.node, "node", "", "`name` of the node")
	flag.StringVar(&p.name, "name", "", "`name` of the provisioner in storage classes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := p.run(ctx, *kubeconfig); err != nil {
		fmt.Fprintf(os.Stderr, "provisioner: %v\n", err)
		os.Exit(1)
	}
}

type provisioner struct {
	dir, node, name string

	client  kubernetes.Interface
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
}

func (p *provisioner) run(ctx context.Context, kubeconfig string) error {
	if p.dir == "" || p.node == "" || p.name == "" {
		return errors.New("-dir, -node and -name are needed")
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	if p.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(p.client, 0)
	claims, volumes := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	classes := factory.Storage().V1().StorageClasses()
	p.claims, p.volumes, p.classes = claims.Lister(), volumes.Lister(), classes.Lister()
	// Any change means one look at everything: there are few volumes, and a
	// look is a walk over three caches.
	changed := make(chan struct{}, 1)
	wake := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: wake, DeleteFunc: wake, UpdateFunc: func(_, _ any) { wake(nil) }}
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), volumes.Informer(), classes.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	factory.WaitForCacheSync(ctx.Done())
	retry := time.NewTicker(retryInterval)
	defer retry.Stop()
	for {
		if err := p.reconcile(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Reconcile failed, will try again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry.C:
		}
	}
}

// reconcile provisions what waits and deletes what is released.
func (p *provisioner) reconcile(ctx context.Context) error {
	claims, err := p.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	var errs []error
	for _, claim := range claims {
		if p.wants(claim) {
			if err := p.provision(ctx, claim); err != nil {
				errs = append(errs, fmt.Errorf("claim %s/%s: %w", claim.Namespace, claim.Name, err))
			}
		}
	}
	volumes, err := p.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if v.Annotations[annProvisionedBy] == p.name && v.Status.Phase == corev1.VolumeReleased &&
			v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
			if err := p.remove(ctx, v); err != nil {
				errs = append(errs, fmt.Errorf("volume %s: %w", v.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// wants reports whether claim waits for this provisioner and this node.
func (p *provisioner) wants(claim *corev1.PersistentVolumeClaim) bool {
	if claim.Status.Phase != corev1.ClaimPending || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil ||
		claim.Annotations[annProvisioner] != p.name {
		return false
	}
	node, selected := claim.Annotations[annSelectedNode]
	return !selected || node == p.node
}

func (p *provisioner) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := p.classes.Get(*claim.Spec.StorageClassName)
	if err != nil {
		return err
	}
	if claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode != corev1.PersistentVolumeFilesystem {
		return fmt.Errorf("volume mode %s: this provisioner makes directories only", *claim.Spec.VolumeMode)
	}
	name := "pvc-" + string(claim.UID)
	if _, err := p.volumes.Get(name); err == nil {
		return nil // made already, the controller has yet to bind it
	}
	path := filepath.Join(p.dir, name)
	// As on a cloud disk, only the pod's fsGroup gives a non-root user access.
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	policy := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annProvisionedBy: p.name}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			StorageClassName:              class.Name,
			PersistentVolumeReclaimPolicy: policy,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			ClaimRef: &corev1.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name,
				UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{p.node}}},
			}}}},
		},
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if err == nil {
		klog.InfoS("Provisioned", "claim", klog.KObj(claim), "volume", name)
	}
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// remove deletes the directory first: a volume object without its directory is
// tried again, a directory without an object would stay for ever.
func (p *provisioner) remove(ctx context.Context, v *corev1.PersistentVolume) error {
	if v.Spec.Local == nil || !strings.HasPrefix(v.Spec.Local.Path, p.dir+string(filepath.Separator)) {
		return fmt.Errorf("its directory is not below %s, delete it by hand", p.dir)
	}
	if err := os.RemoveAll(v.Spec.Local.Path); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, v.Name, metav1.DeleteOptions{})
	if err == nil {
		klog.InfoS("Deleted", "volume", v.Name)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
