package install

import (
	"crypto/sha256"
	"encoding/hex"

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
)

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
