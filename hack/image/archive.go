package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const certsFile = "etc/ssl/certs/ca-certificates.crt"

// epoch is the modification time of every file in layers and archives.
var epoch = time.Unix(0, 0).UTC()

// file is one entry of a layer or archive; a name with a final slash is a
// directory.
type file struct {
	name string
	mode int64
	data []byte
}

func baseFiles(roots []byte) []file {
	return []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnonroot:x:" + user + ":\n")},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:" + user + ":" + user + ":nonroot:/:/sbin/nologin\n")},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: certsFile, mode: 0o644, data: roots},
		{name: "tmp/", mode: 0o1777},
	}
}

// layer makes a compressed layer of files, in their order.
func layer(files []file) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := add(w, f); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	data := buf.Bytes()
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

// add writes one entry that says nothing of who made it or when.
func add(w *tar.Writer, f file) error {
	h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
	if f.name[len(f.name)-1] == '/' {
		h.Typeflag = tar.TypeDir
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(f.data)
	return err
}

// writeArchive writes images, one per platform, to cfg.output, which appears
// whole. It returns the size of the archive.
func writeArchive(cfg config, images []v1.Image) (int64, error) {
	if err := os.MkdirAll(filepath.Dir(cfg.output), 0o755); err != nil {
		return 0, err
	}
	f, err := os.Create(cfg.output + ".tmp")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	a := archive{w: tar.NewWriter(f), seen: map[v1.Hash]bool{}}
	if err := a.write(cfg, images); err != nil {
		return 0, fmt.Errorf("write %s: %w", cfg.output, err)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(f.Name(), cfg.output)
}

// archive writes blobs once each, whatever number of images share them.
type archive struct {
	w    *tar.Writer
	seen map[v1.Hash]bool
}

func (a *archive) write(cfg config, images []v1.Image) error {
	if err := a.json("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	for _, img := range images {
		if err := a.image(img); err != nil {
			return err
		}
	}
	top, err := a.top(cfg, images)
	if err != nil {
		return err
	}
	// containerd names the image by the first of these, registry tools take
	// the tag from the second.
	top.Annotations = map[string]string{
		"io.containerd.image.name":          cfg.tag,
		"org.opencontainers.image.ref.name": cfg.tag[strings.LastIndex(cfg.tag, ":")+1:],
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{top}}
	if err := a.json("index.json", index); err != nil {
		return err
	}
	if err := a.docker(cfg, images[0]); err != nil {
		return err
	}
	return a.w.Close()
}

// top returns the descriptor that index.json points to: the manifest itself, or
// an index of all platforms.
func (a *archive) top(cfg config, images []v1.Image) (v1.Descriptor, error) {
	var addenda []mutate.IndexAddendum
	for i, img := range images {
		p := cfg.platforms[i].oci
		addenda = append(addenda, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	idx := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), addenda...)
	if len(images) == 1 {
		m, err := idx.IndexManifest()
		if err != nil {
			return v1.Descriptor{}, err
		}
		return m.Manifests[0], nil
	}
	raw, err := idx.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	digest, err := idx.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: types.OCIImageIndex, Size: int64(len(raw)), Digest: digest}, a.blob(digest, raw)
}

func (a *archive) image(img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return err
		}
		r, err := l.Compressed()
		if err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return err
		}
		if err := a.blob(digest, data); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		digest func() (v1.Hash, error)
		raw    func() ([]byte, error)
	}{{img.ConfigName, img.RawConfigFile}, {img.Digest, img.RawManifest}} {
		digest, err := part.digest()
		if err != nil {
			return err
		}
		raw, err := part.raw()
		if err != nil {
			return err
		}
		if err := a.blob(digest, raw); err != nil {
			return err
		}
	}
	return nil
}

// docker writes the manifest.json of `docker save`, which knows one platform.
func (a *archive) docker(cfg config, img v1.Image) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	entry := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: blobPath(m.Config.Digest), RepoTags: []string{cfg.tag}}
	for _, l := range m.Layers {
		entry.Layers = append(entry.Layers, blobPath(l.Digest))
	}
	return a.json("manifest.json", []any{entry})
}

func (a *archive) blob(digest v1.Hash, data []byte) error {
	if a.seen[digest] {
		return nil
	}
	a.seen[digest] = true
	return add(a.w, file{name: blobPath(digest), mode: 0o644, data: data})
}

func (a *archive) json(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return add(a.w, file{name: name, mode: 0o644, data: data})
}

func blobPath(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }
