package snapshot

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Limits of asking kubelets.
const (
	maxVolumeNodes = 4
	volumesTimeout = 3 * time.Second
)

// VolumeUse is how full the volume of a claim is, by the kubelet that mounts it.
type VolumeUse struct {
	Namespace, Claim string
	Pod              *corev1.Pod
	Used, Capacity   int64 // bytes
}

// Volumes are those of log stacks other than ours that could be asked for.
func (s *Snapshot) Volumes() []VolumeUse {
	s.t.touch(Volumes)
	return s.d.volumes
}

// SetVolumes is for tests.
func (s *Snapshot) SetVolumes(v []VolumeUse) { s.d.volumes = v }

// readVolumes asks the kubelets of the nodes on which pods of log stacks have
// claims. That is a right of its own (nodes/proxy), which few have.
func (s *Snapshot) readVolumes(ctx context.Context, c *kube.Client) {
	if s.d.missing[Server] != nil || c.Config == nil {
		return
	}
	pods := map[[2]string]*corev1.Pod{} // by namespace and claim
	var nodes []string
	seen := map[string]bool{}
	for _, p := range list[corev1.Pod](s, Pods) {
		if product := ProductOf(p.Labels, &p.Spec); product == "" || product == Logstack || p.Spec.NodeName == "" || p.Status.Phase != corev1.PodRunning {
			continue
		}
		for _, v := range p.Spec.Volumes {
			if v.PersistentVolumeClaim == nil {
				continue
			}
			pods[[2]string{p.Namespace, v.PersistentVolumeClaim.ClaimName}] = p
			if !seen[p.Spec.NodeName] && len(nodes) < maxVolumeNodes {
				seen[p.Spec.NodeName] = true
				nodes = append(nodes, p.Spec.NodeName)
			}
		}
	}
	if len(nodes) == 0 {
		return
	}
	right := Right{Verb: "get", Resource: "nodes", Subresource: "proxy"}
	if l := (&live{s: s, c: c}); !l.may(ctx, right) {
		s.SetMissing(Volumes, &Missing{Right: &right})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, volumesTimeout)
	defer cancel()
	var failed error
	for _, node := range nodes {
		body, err := c.Kube.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("stats/summary").Do(ctx).Raw()
		if err == nil {
			err = s.readSummary(body, pods)
		}
		if err != nil {
			failed = err
		}
	}
	if len(s.d.volumes) == 0 && failed != nil {
		s.SetMissing(Volumes, &Missing{Err: kube.Explain(failed)})
	}
}

// readSummary takes the claims of pods from a kubelet's /stats/summary.
func (s *Snapshot) readSummary(body []byte, pods map[[2]string]*corev1.Pod) error {
	var summary struct {
		Pods []struct {
			Volume []struct {
				UsedBytes     int64 `json:"usedBytes"`
				CapacityBytes int64 `json:"capacityBytes"`
				PVCRef        *struct {
					Name      string `json:"name"`
					Namespace string `json:"namespace"`
				} `json:"pvcRef"`
			} `json:"volume"`
		} `json:"pods"`
	}
	if err := json.Unmarshal(body, &summary); err != nil {
		return err
	}
	for _, p := range summary.Pods {
		for _, v := range p.Volume {
			if v.PVCRef == nil || v.CapacityBytes == 0 {
				continue
			}
			if pod := pods[[2]string{v.PVCRef.Namespace, v.PVCRef.Name}]; pod != nil {
				s.d.volumes = append(s.d.volumes, VolumeUse{Namespace: v.PVCRef.Namespace, Claim: v.PVCRef.Name, Pod: pod, Used: v.UsedBytes, Capacity: v.CapacityBytes})
			}
		}
	}
	return nil
}
