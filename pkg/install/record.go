package install

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// The record of an installation is a ConfigMap in its namespace: with which
// values it was made, by which version, what belongs to it, and what it was the
// last time that it became ready. It lets the next run keep values that are not
// given again, delete what is no longer rendered, go back to what worked, and
// refuse to put an old collector on data that it cannot read.
const (
	recordName    = Name + "-install"
	recordValues  = "values.yaml"
	recordObjects = "objects"
	recordVersion = "version"
	recordFormat  = "storeFormat"
	// What was last ready: the same, and the objects themselves, compressed.
	goodValues    = "good-values.yaml"
	goodVersion   = "good-version"
	goodFormat    = "good-storeFormat"
	goodManifests = "good-objects.yaml.gz" // in binaryData
)

// goodState is an installation that became ready. The objects are kept as they
// were, since a later version of this program would render them differently.
type goodState struct {
	values, version string
	format          int
	objs            []*unstructured.Unstructured
}

// installation is what one run wants: the objects and what is written down.
type installation struct {
	namespace       string
	values, version string // as in the record
	format          int
	objs            []*unstructured.Unstructured
	good            *goodState
}

// newInstallation renders values. v is resolved, given is as it was given.
func newInstallation(v, given Values) (*installation, error) {
	objs, err := Render(v)
	if err != nil {
		return nil, err
	}
	text, err := sigsyaml.Marshal(given)
	if err != nil {
		return nil, err
	}
	return &installation{namespace: v.Namespace, values: string(text), version: version.Version, format: version.StoreFormat, objs: objs}, nil
}

// record makes the ConfigMap.
func (i *installation) record() (*unstructured.Unstructured, error) {
	var lines strings.Builder
	for _, o := range i.objs {
		fmt.Fprintln(&lines, objectID(o))
	}
	data := map[string]any{
		recordValues: i.values, recordObjects: lines.String(), recordVersion: i.version, recordFormat: strconv.Itoa(i.format),
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": recordName, "namespace": i.namespace,
			"labels": map[string]any{
				"app.kubernetes.io/name": Name, "app.kubernetes.io/part-of": Name, managedBy: kube.FieldManager,
				"app.kubernetes.io/version": i.version,
			},
		},
		"data": data,
	}}
	if g := i.good; g != nil {
		data[goodValues], data[goodVersion], data[goodFormat] = g.values, g.version, strconv.Itoa(g.format)
		packed, err := pack(g.objs)
		if err != nil {
			return nil, err
		}
		o.Object["binaryData"] = map[string]any{goodManifests: base64.StdEncoding.EncodeToString(packed)}
	}
	return o, nil
}

// asGood is the installation as the state to go back to.
func (i *installation) asGood() *goodState {
	return &goodState{values: i.values, version: i.version, format: i.format, objs: i.objs}
}

func pack(objs []*unstructured.Unstructured) ([]byte, error) {
	text, err := YAML(objs)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return buf.Bytes(), err
}

// maxPacked bounds what a record may unpack to; a ConfigMap holds 1 MiB.
const maxPacked = 16 << 20

// goodOf reads what a record says was last ready; nil where it says nothing.
func goodOf(record *corev1.ConfigMap) (*goodState, error) {
	if record == nil || len(record.BinaryData[goodManifests]) == 0 {
		return nil, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(record.BinaryData[goodManifests]))
	if err != nil {
		return nil, fmt.Errorf("configmap/%s: %s: %w", recordName, goodManifests, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxPacked))
	if err != nil {
		return nil, fmt.Errorf("configmap/%s: %s: %w", recordName, goodManifests, err)
	}
	objs, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("configmap/%s: %s: %w", recordName, goodManifests, err)
	}
	g := &goodState{values: record.Data[goodValues], version: record.Data[goodVersion], objs: objs}
	g.format, _ = strconv.Atoi(record.Data[goodFormat])
	return g, nil
}

// objectID is the line of an object in the record: apiVersion, kind, namespace
// ("-" for none) and name.
func objectID(o *unstructured.Unstructured) string {
	ns := o.GetNamespace()
	if ns == "" {
		ns = "-"
	}
	return strings.Join([]string{o.GetAPIVersion(), o.GetKind(), ns, o.GetName()}, " ")
}

// recorded lists what a record says that belongs to the installation, without
// the namespace: that is not deleted on the way.
func recorded(cm *corev1.ConfigMap) (objs []*unstructured.Unstructured) {
	for line := range strings.Lines(cm.Data[recordObjects]) {
		f := strings.Fields(line)
		if len(f) != 4 || f[1] == "Namespace" {
			continue
		}
		gv, err := schema.ParseGroupVersion(f[0])
		if err != nil {
			continue // written by hand; what is not understood is not deleted
		}
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(gv.WithKind(f[1]))
		o.SetName(f[3])
		if f[2] != "-" {
			o.SetNamespace(f[2])
		}
		objs = append(objs, o)
	}
	return objs
}

// readRecord returns nil where there is no record of ours, as for an
// installation by GitOps.
func readRecord(ctx context.Context, c *kube.Client, namespace string) (*corev1.ConfigMap, error) {
	cm, err := c.Kube.CoreV1().ConfigMaps(namespace).Get(ctx, recordName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, kube.Explain(err)
	case cm.Labels[managedBy] != kube.FieldManager:
		return nil, nil
	}
	return cm, nil
}

// dropped lists the objects of the former installation that are not among objs.
func dropped(former *corev1.ConfigMap, objs []*unstructured.Unstructured) []*unstructured.Unstructured {
	if former == nil {
		return nil
	}
	return slices.DeleteFunc(recorded(former), func(old *unstructured.Unstructured) bool {
		return slices.ContainsFunc(objs, func(o *unstructured.Unstructured) bool { return objectID(o) == objectID(old) })
	})
}
