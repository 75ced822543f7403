package krew

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Root is a $KREW_ROOT:
//
//	store/NAME/VERSION/     the files of the archive
//	bin/kubectl-NAME        a link to the program; this directory is in the PATH
//	receipts/NAME.yaml      the manifest that was installed
type Root string

// Bin is the directory that belongs into the PATH.
func (r Root) Bin() string { return filepath.Join(string(r), "bin") }

func (r Root) store(name string) string   { return filepath.Join(string(r), "store", name) }
func (r Root) receipt(name string) string { return filepath.Join(string(r), "receipts", name+".yaml") }

// link is where the program of a plugin is called from. Krew writes the dashes
// of a name as underscores, because kubectl reads dashes as sub-commands.
func (r Root) link(name, goos string) string {
	link := filepath.Join(r.Bin(), "kubectl-"+strings.ReplaceAll(name, "-", "_"))
	if goos == "windows" {
		link += ".exe"
	}
	return link
}

// Install installs a plugin, or upgrades it, from an archive on disk, for a
// machine of that GOOS and GOARCH, and returns the path of its link. It refuses
// what Krew refuses: another digest, a path that leaves the directory, a
// program that is not in the archive; and, as the index does, an archive
// without a licence.
func (r Root) Install(m Manifest, archive, goos, goarch string) (link string, err error) {
	if err := m.Validate(m.Metadata.Name + ".yaml"); err != nil {
		return "", err
	}
	i := slices.IndexFunc(m.Spec.Platforms, func(p Platform) bool { return p.matches(machine{goos, goarch}) })
	if i < 0 {
		return "", fmt.Errorf("plugin %s %s has no archive for %s/%s", m.Metadata.Name, m.Spec.Version, goos, goarch)
	}
	p := m.Spec.Platforms[i]
	if p.Files != nil {
		return "", fmt.Errorf("spec.platforms[%d]: only whole archives are installed here, without files", i)
	}
	data, err := os.ReadFile(archive)
	if err != nil {
		return "", err
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(data)); sum != p.SHA256 {
		return "", fmt.Errorf("%s has digest %s, the manifest says %s", filepath.Base(archive), sum, p.SHA256)
	}
	dir := filepath.Join(r.store(m.Metadata.Name), m.Spec.Version)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	names, err := Unpack(filepath.Base(archive), data, dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(archive), err)
	}
	if !slices.Contains(names, p.Bin) {
		return "", fmt.Errorf("bin %s is not among the files of %s: %s", p.Bin, filepath.Base(archive), strings.Join(names, ", "))
	}
	if !slices.ContainsFunc(names, isLicense) {
		return "", fmt.Errorf("no licence among the files of %s: %s", filepath.Base(archive), strings.Join(names, ", "))
	}
	link = r.link(m.Metadata.Name, goos)
	return link, errors.Join(
		relink(filepath.Join(dir, filepath.FromSlash(p.Bin)), link),
		r.writeReceipt(m),
		r.removeOthers(m))
}

// Uninstall removes a plugin, as Krew on a machine of that GOOS would.
func (r Root) Uninstall(name, goos string) error {
	return errors.Join(os.Remove(r.link(name, goos)), os.RemoveAll(r.store(name)), os.Remove(r.receipt(name)))
}

func isLicense(name string) bool {
	switch strings.ToLower(filepath.Base(name)) {
	case "license", "license.txt", "license.md", "licenses", "licenses.txt", "licenses.md", "copying", "copying.txt":
		return true
	}
	return false
}

func relink(target, link string) error {
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	if st, err := os.Lstat(link); err == nil {
		if st.Mode()&fs.ModeSymlink == 0 {
			return fmt.Errorf("%s is not a link: Krew does not replace it", link)
		}
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	return os.Symlink(target, link)
}

func (r Root) writeReceipt(m Manifest) error {
	data, err := yaml.Marshal(m)
	if err != nil {
		return err
	}
	path := r.receipt(m.Metadata.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// removeOthers deletes the versions that an upgrade leaves behind.
func (r Root) removeOthers(m Manifest) error {
	versions, err := os.ReadDir(r.store(m.Metadata.Name))
	if err != nil {
		return err
	}
	for _, v := range versions {
		if v.Name() != m.Spec.Version {
			err = errors.Join(err, os.RemoveAll(filepath.Join(r.store(m.Metadata.Name), v.Name())))
		}
	}
	return err
}

// Unpack writes the files of an archive, whose name tells its format, under dir
// and returns their names. Links and paths that lead out of dir are refused.
func Unpack(name string, data []byte, dir string) (names []string, err error) {
	each := eachInTar
	if strings.HasSuffix(name, ".zip") {
		each = eachInZip
	}
	err = each(data, func(name string, mode fs.FileMode, r io.Reader) error {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return fmt.Errorf("file %q leads out of the archive", name)
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		names = append(names, name)
		return os.WriteFile(path, content, mode.Perm())
	})
	return names, err
}

func eachInTar(data []byte, f func(string, fs.FileMode, io.Reader) error) error {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if err := f(h.Name, h.FileInfo().Mode(), r); err != nil {
				return err
			}
		case tar.TypeDir:
		default:
			return fmt.Errorf("file %q is neither a file nor a directory: Krew refuses it", h.Name)
		}
	}
}

func eachInZip(data []byte, f func(string, fs.FileMode, io.Reader) error) error {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	for _, entry := range z.File {
		if entry.FileInfo().IsDir() {
			continue
		}
		r, err := entry.Open()
		if err != nil {
			return err
		}
		if err := f(entry.Name, entry.Mode(), r); err != nil {
			return err
		}
	}
	return nil
}
