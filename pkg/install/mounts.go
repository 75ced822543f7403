package install

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Files that the collector reads, and the flags that name them.
const (
	configDir    = "/etc/logstack/"
	limitsFile   = "limits.yaml"
	limitsVolume = "limits"
	tlsVolume    = "tls"
	authVolume   = "auth"

	namespaceArg = "--namespace="
	limitsArg    = "--limits=" + configDir + limitsVolume + "/" + limitsFile
	tlsCertArg   = "--tls-cert-file=" + configDir + tlsVolume + "/" + corev1.TLSCertKey
	tlsKeyArg    = "--tls-key-file=" + configDir + tlsVolume + "/" + corev1.TLSPrivateKeyKey
	authDirArg   = "--auth-dir=" + configDir + authVolume
	authNameArg  = "--auth-secret-name="
	eventsArg    = "--events="
	lifecycleArg = "--lifecycle="
	nodeFilesArg = "--read-node-files="
)

// choiceArgs are the flags of what the values choose otherwise than the collector
// would by itself.
func choiceArgs(v Values) (args []string) {
	if !v.Events {
		args = append(args, eventsArg+"false")
	}
	if !v.Lifecycle {
		args = append(args, lifecycleArg+"false")
	}
	if v.NodeFiles != nodeFilesOff {
		args = append(args, nodeFilesArg+v.NodeFiles)
	}
	return args
}

// share makes the replicas of a set know each other, and spreads them over nodes.
func share(s *appsv1.StatefulSet, v Values) {
	s.Spec.Replicas = &v.Replicas
	pod := &s.Spec.Template.Spec
	c := &pod.Containers[0]
	scheme := "http"
	if v.TLS.SecretName != "" {
		scheme = "https"
	}
	for _, e := range []struct{ name, path string }{
		{"POD_NAME", "metadata.name"}, {"POD_NAMESPACE", "metadata.namespace"}, {"POD_UID", "metadata.uid"}, {"POD_IP", "status.podIP"},
	} {
		c.Env = append(c.Env, corev1.EnvVar{Name: e.name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: e.path}}})
	}
	c.Args = append(c.Args, "--replica-set="+Name, "--replica-name=$(POD_NAME)", "--replica-namespace=$(POD_NAMESPACE)", "--replica-id=$(POD_UID)",
		fmt.Sprintf("--advertise-url=%s://$(POD_IP):%d", scheme, apiPort))
	pod.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: s.Spec.Selector,
	}}
}

// configHash makes the pods of changed limits new ones: the collector reads them
// once. Certificates and credentials are read again by themselves.
const configHash = "logstack.dev/config-hash"

// mountFiles gives the collector limits, certificate and credentials.
func mountFiles(template *corev1.PodTemplateSpec, v Values) error {
	pod := &template.Spec
	c := &pod.Containers[0]
	mount := func(name string, source corev1.VolumeSource, args ...string) {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: configDir + name, ReadOnly: true})
		c.Args = append(c.Args, args...)
	}
	text, err := v.Limits.file()
	if err != nil {
		return err
	}
	if text != nil {
		mount(limitsVolume, corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: limitsName},
		}}, limitsArg)
		sum := sha256.Sum256(text)
		template.Annotations = map[string]string{configHash: hex.EncodeToString(sum[:8])}
	}
	if name := v.TLS.SecretName; name != "" {
		mount(tlsVolume, secretVolume(name), tlsCertArg, tlsKeyArg)
		c.ReadinessProbe.HTTPGet.Scheme = corev1.URISchemeHTTPS
	}
	if name := v.Auth.SecretName; name != "" {
		mount(authVolume, secretVolume(name), authDirArg, authNameArg+name)
	}
	return nil
}

// secretVolume can be read by the collector's group alone.
func secretVolume(name string) corev1.VolumeSource {
	mode := int32(0o440)
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, DefaultMode: &mode}}
}
