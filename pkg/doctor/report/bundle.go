package report

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// Bundle writes a gzipped tar for a bug report: the report in text and JSON,
// and the objects that were examined, redacted by [snapshot.Snapshot.Redacted].
func Bundle(w io.Writer, s *snapshot.Snapshot, r *doctor.Report) error {
	zw := gzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	add := func(name string, content []byte) error {
		h := &tar.Header{Name: "logstack-doctor/" + name, Mode: 0o644, Size: int64(len(content)), ModTime: s.Taken}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := tw.Write(content)
		return err
	}
	for _, f := range []struct{ name, format string }{{"report.txt", "text"}, {"report.json", "json"}} {
		var buf bytes.Buffer
		if err := Write(&buf, f.format, r, Plain); err != nil {
			return err
		}
		if err := add(f.name, buf.Bytes()); err != nil {
			return err
		}
	}
	files, err := s.Redacted()
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := add(f.Name, f.Content); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return zw.Close()
}
