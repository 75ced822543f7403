package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// member is one file of an archive.
type member struct {
	name string
	mode int64
	data []byte
}

// writeArchive packs members, in their order, as the ending of path says, and
// returns the SHA-256 digest of the archive in lower-case hexadecimal: Krew
// refuses upper case.
func writeArchive(path string, date time.Time, members []member) (string, error) {
	var buf bytes.Buffer
	pack := packTar
	if strings.HasSuffix(path, ".zip") {
		pack = packZip
	}
	if err := pack(&buf, date, members); err != nil {
		return "", fmt.Errorf("pack %s: %w", filepath.Base(path), err)
	}
	sum := sha256.Sum256(buf.Bytes())
	return hex.EncodeToString(sum[:]), os.WriteFile(path, buf.Bytes(), 0o644)
}

func packTar(w io.Writer, date time.Time, members []member) error {
	// The gzip header stays empty: no name, no time.
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, m := range members {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: m.name, Mode: m.mode, Size: int64(len(m.data)),
			ModTime: date, Format: tar.FormatUSTAR,
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(m.data); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

func packZip(w io.Writer, date time.Time, members []member) error {
	z := zip.NewWriter(w)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate, Modified: date}
		h.SetMode(os.FileMode(m.mode))
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(m.data); err != nil {
			return err
		}
	}
	return z.Close()
}

// emptyDir makes dir, and removes what an earlier release left there. A
// directory that holds anything else is refused: it may be a mistyped path.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !ours(e.Name()) || e.IsDir() {
			return fmt.Errorf("-o %s holds %s, which no release wrote: name an empty directory", dir, e.Name())
		}
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o755)
}

func ours(name string) bool {
	switch name {
	case "checksums.txt", manifestName, "collector.tar", "collector.cdx.json":
		return true
	}
	return strings.HasPrefix(name, "kubectl-logstack_")
}

// checksums writes checksums.txt in the form that `sha256sum -c` reads, and
// returns how many files the release has.
func checksums(dir string) (int, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return 0, err
	}
	var b strings.Builder
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return 0, err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(&b, "%x  %s\n", h.Sum(nil), e.Name())
	}
	return len(entries) + 1, os.WriteFile(filepath.Join(dir, "checksums.txt"), []byte(b.String()), 0o644)
}
