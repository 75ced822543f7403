package snapshot

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// helmRelease is the part of Helm's stored release (v1) that is of use.
type helmRelease struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Version   int    `json:"version"`
	Info      struct {
		Status      string `json:"status"`
		Description string `json:"description"`
	} `json:"info"`
	Chart struct {
		Metadata struct {
			Name         string `json:"name"`
			Version      string `json:"version"`
			Home         string `json:"home"`
			Description  string `json:"description"`
			KubeVersion  string `json:"kubeVersion"`
			Dependencies []struct {
				Name  string `json:"name"`
				Alias string `json:"alias"`
			} `json:"dependencies"`
		} `json:"metadata"`
		Values map[string]any `json:"values"`
		Schema []byte         `json:"schema"`
	} `json:"chart"`
	Config   map[string]any `json:"config"`
	Manifest string         `json:"manifest"`
}

// maxReleaseSize bounds a decompressed release: etcd's limit is 1.5 MiB
// compressed, charts decompress to a few MiB.
const maxReleaseSize = 64 << 20

// DecodeRelease reads a release as Helm stores it: base64, gzip (not in very
// old ones), JSON.
func DecodeRelease(stored []byte) (*Release, error) {
	raw, err := base64.StdEncoding.DecodeString(string(stored))
	if err != nil {
		return nil, fmt.Errorf("helm release: not base64: %w", err)
	}
	if len(raw) > 3 && bytes.Equal(raw[:3], []byte{0x1f, 0x8b, 0x08}) {
		zr, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("helm release: %w", err)
		}
		if raw, err = io.ReadAll(io.LimitReader(zr, maxReleaseSize)); err != nil {
			return nil, fmt.Errorf("helm release: %w", err)
		}
	}
	var h helmRelease
	if err := json.Unmarshal(raw, &h); err != nil {
		return nil, fmt.Errorf("helm release: %w", err)
	}
	m := h.Chart.Metadata
	values, lines := helmValues(nonNil(h.Config))
	r := &Release{
		Origin: FromHelm, Name: h.Name, Namespace: h.Namespace, Chart: m.Name, Version: m.Version, Home: m.Home, Description: m.Description,
		KubeVersion: m.KubeVersion, Values: values, lines: lines, Defaults: nonNil(h.Chart.Values), Schema: h.Chart.Schema,
		Status: h.Info.Status, Message: h.Info.Description, Revision: h.Version, Manifest: h.Manifest,
		ref: Ref{Kind: "Release", Namespace: h.Namespace, Name: h.Name},
	}
	for _, d := range m.Dependencies {
		if d.Alias != "" {
			d.Name = d.Alias
		}
		r.Subcharts = append(r.Subcharts, d.Name)
	}
	return r, nil
}

// valuesHead is the first line of `helm get values`.
const valuesHead = "USER-SUPPLIED VALUES:"

// helmValues are values as `helm get values` prints them, with the positions in
// what it prints: what Helm stores has none.
func helmValues(config map[string]any) (*yaml.Node, []string) {
	text, err := sigsyaml.Marshal(config)
	if err != nil {
		return ToNode(config), nil
	}
	n, err := ParseYAML(string(text))
	if err != nil || !IsMap(n) {
		return ToNode(config), nil
	}
	var down func(*yaml.Node)
	down = func(n *yaml.Node) {
		n.Line++ // the head
		for _, c := range n.Content {
			down(c)
		}
	}
	down(n)
	return n, strings.Split(valuesHead+"\n"+string(text), "\n")
}

// EncodeRelease is the reverse of DecodeRelease, for tests and tools.
func EncodeRelease(v any) ([]byte, error) {
	js, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if _, err := zw.Write(js); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return []byte(base64.StdEncoding.EncodeToString(buf.Bytes())), nil
}

func nonNil(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}
