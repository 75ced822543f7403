package rig

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// containerIDPrefix is the scheme of container IDs in a pod status.
const containerIDPrefix = "containerd://"

// runtimeService is the part of the container runtime that log reading asks:
// where the file is and whether the container runs. Everything else would panic
// on the nil interface, which is how a test would learn that ReadLogs changed.
type runtimeService struct {
	cri.RuntimeService
	kubelet *Kubelet
}

// ContainerStatus implements [cri.RuntimeService].
func (r runtimeService) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	r.kubelet.mu.Lock()
	down := r.kubelet.faults.runtimeDown
	r.kubelet.mu.Unlock()
	if down {
		return nil, status.Error(codes.Unavailable, "connection error: desc = \"transport: Error while dialing\"")
	}
	in := r.kubelet.instance(id)
	if in == nil {
		return nil, status.Errorf(codes.NotFound, "an error occurred when try to find container %q: not found", id)
	}
	state := runtimeapi.ContainerState_CONTAINER_EXITED
	if in.Running() {
		state = runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
		Id: id, State: state, LogPath: in.log.path,
	}}, nil
}

// containerToRead is validateContainerLogStatus of pkg/kubelet/kubelet_pods.go
// (v1.36): which instance a request means. It returns the ID without scheme.
func containerToRead(pod string, st *corev1.PodStatus, container string, previous bool) (string, error) {
	cs := findStatus(st, container)
	if cs == nil {
		return "", fmt.Errorf("container %q in pod %q is not available", container, pod)
	}
	last := cs.LastTerminationState.Terminated
	terminated := fmt.Errorf("container %q in pod %q is terminated", container, pod)
	var id string
	switch {
	case previous:
		if last == nil || last.ContainerID == "" {
			return "", fmt.Errorf("previous terminated container %q in pod %q not found", container, pod)
		}
		id = last.ContainerID
	case cs.State.Running != nil:
		id = cs.ContainerID
	case cs.State.Terminated != nil:
		id = cs.State.Terminated.ContainerID
		if id == "" {
			if last == nil || last.ContainerID == "" {
				return "", terminated
			}
			id = last.ContainerID
		}
	case last != nil:
		if last.ContainerID == "" {
			return "", terminated
		}
		id = last.ContainerID
	case cs.State.Waiting != nil:
		reason := cs.State.Waiting.Reason
		switch reason {
		case "ErrImagePull":
			reason = "image can't be pulled"
		case "ImagePullBackOff":
			reason = "trying and failing to pull image"
		}
		return "", fmt.Errorf("container %q in pod %q is waiting to start: %v", container, pod, reason)
	default:
		return "", fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", container, pod)
	}
	return strings.TrimPrefix(id, containerIDPrefix), nil
}

func findStatus(st *corev1.PodStatus, container string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == container {
				return &list[i]
			}
		}
	}
	return nil
}
