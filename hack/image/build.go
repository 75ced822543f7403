package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	sourceURL = "https://github.com/logstack-dev/kubectl-logstack"
	// versionPackage holds the variables that the linker stamps.
	versionPackage = "github.com/logstack-dev/kubectl-logstack/pkg/version"
	// user is the conventional "nonroot" of distroless images.
	user = "65532"
)

// build makes an image for each platform and writes the archive, whose size in
// bytes it returns.
func build(ctx context.Context, cfg config, log io.Writer) (int64, error) {
	roots, err := rootCertificates(cfg.caBundle)
	if err != nil {
		return 0, err
	}
	base, err := layer(baseFiles(roots))
	if err != nil {
		return 0, fmt.Errorf("base layer: %w", err)
	}
	var images []v1.Image
	for _, p := range cfg.platforms {
		binary, err := program(ctx, cfg, p, log)
		if err != nil {
			return 0, err
		}
		img, err := image(cfg, p, base, binary)
		if err != nil {
			return 0, fmt.Errorf("image for %s: %w", p, err)
		}
		images = append(images, img)
	}
	return writeArchive(cfg, images)
}

// program returns the bytes of the static binary for p.
func program(ctx context.Context, cfg config, p platform, log io.Writer) ([]byte, error) {
	path := cfg.prebuilt
	if path == "" {
		dir, err := os.MkdirTemp("", "logstack-image-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, cfg.title)
		fmt.Fprintf(log, "building %s for %s\n", cfg.binary, p)
		if err := compile(ctx, cfg, p, path); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read binary: %w", err)
	}
	return data, checkStatic(path, data, p)
}

func compile(ctx context.Context, cfg config, p platform, path string) error {
	ldflags := fmt.Sprintf("-s -w -X %s.Version=%s -X %s.Commit=%s", versionPackage, cfg.version, versionPackage, cfg.commit)
	// -buildvcs=false: the commit is stamped above, and a dirty work tree must
	// not change the bytes of an unchanged program.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", path, cfg.binary)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.oci.OS, "GOARCH="+p.oci.Architecture)
	cmd.Env = append(cmd.Env, p.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s for %s: %w\n%s", cfg.binary, p, err, bytes.TrimSpace(out))
	}
	return nil
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "arm": elf.EM_ARM}

// checkStatic refuses what could not start in an empty image: a program of
// another architecture, or one that asks for a dynamic loader.
func checkStatic(path string, data []byte, p platform) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s is not a Linux program: %w", path, err)
	}
	defer f.Close()
	if want := machines[p.oci.Architecture]; f.Machine != want {
		return fmt.Errorf("%s is a program for %v, not for %s: name its platform with -platforms", path, f.Machine, p)
	}
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs a dynamic loader, which an empty image lacks: build it with CGO_ENABLED=0", path)
		}
	}
	return nil
}

// image stacks base and binary.
func image(cfg config, p platform, base v1.Layer, binary []byte) (v1.Image, error) {
	top, err := layer([]file{{name: cfg.title, mode: 0o755, data: binary}})
	if err != nil {
		return nil, err
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err = mutate.Append(img,
		mutate.Addendum{Layer: base, MediaType: types.OCILayer, History: v1.History{Created: v1.Time{Time: cfg.created}, CreatedBy: "hack/image: certificates and user"}},
		mutate.Addendum{Layer: top, MediaType: types.OCILayer, History: v1.History{Created: v1.Time{Time: cfg.created}, CreatedBy: "hack/image: " + cfg.title}},
	)
	if err != nil {
		return nil, err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Variant = p.oci.OS, p.oci.Architecture, p.oci.Variant
	c.Created = v1.Time{Time: cfg.created}
	c.Config = v1.Config{
		Entrypoint: []string{"/" + cfg.title},
		User:       user + ":" + user,
		WorkingDir: "/",
		Env:        []string{"PATH=/", "SSL_CERT_FILE=/" + certsFile},
		Labels:     labels(cfg),
	}
	return mutate.ConfigFile(img, c)
}

func labels(cfg config) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    cfg.title,
		"org.opencontainers.image.version":  cfg.version,
		"org.opencontainers.image.revision": cfg.commit,
		"org.opencontainers.image.created":  cfg.created.Format("2006-01-02T15:04:05Z"),
		"org.opencontainers.image.source":   sourceURL,
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
}

// rootCertificates returns a PEM bundle: the file at path, or Mozilla's roots
// without those that carry constraints a plain bundle cannot express.
func rootCertificates(path string) ([]byte, error) {
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("-ca-bundle: %w", err)
		}
		if block, _ := pem.Decode(data); block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("-ca-bundle %s holds no PEM certificate", path)
		}
		return data, nil
	}
	var b strings.Builder
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, fmt.Errorf("root certificates: %w", err)
		}
	}
	return []byte(b.String()), nil
}
