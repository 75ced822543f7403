package chunk

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

var update = flag.Bool("update", false, "write sample files that are missing (existing ones are kept forever)")

// sampleFile is what a sample block holds, in JSON; lines are bytes (base64)
// because they need not be UTF-8.
type sampleFile struct {
	Stream     []uint32
	Timestamps []int64
	Lines      [][]byte
	Metadata   [][][2][]byte `json:",omitempty"`
}

func toSample(rows *Rows) *sampleFile {
	s := &sampleFile{Stream: rows.Stream, Timestamps: rows.Timestamps}
	for _, l := range rows.Lines {
		s.Lines = append(s.Lines, []byte(l))
	}
	for _, m := range rows.Metadata {
		pairs := [][2][]byte{}
		m.Range(func(l labels.Label) {
			pairs = append(pairs, [2][]byte{[]byte(l.Name), []byte(l.Value)})
		})
		s.Metadata = append(s.Metadata, pairs)
	}
	return s
}

func (s *sampleFile) rows() *Rows {
	rows := &Rows{Stream: s.Stream, Timestamps: s.Timestamps}
	for _, l := range s.Lines {
		rows.Lines = append(rows.Lines, string(l))
	}
	for _, pairs := range s.Metadata {
		b := labels.NewScratchBuilder(len(pairs))
		for _, p := range pairs {
			b.Add(string(p[0]), string(p[1]))
		}
		rows.Metadata = append(rows.Metadata, b.Labels())
	}
	return rows
}

// TestSamples reads blocks written by former versions. Never delete or rewrite
// a file in testdata/v1: users have blocks like it.
func TestSamples(t *testing.T) {
	if *update {
		for name, s := range map[string]struct {
			rows *Rows
			opts EncoderOptions
		}{
			"columns": {sampleRows(), EncoderOptions{}},
			"plain":   {sampleRows(), EncoderOptions{Plain: true}},
			"kinds":   {kindRows(), EncoderOptions{}},
		} {
			writeSample(t, filepath.Join("testdata", "v1", name), s.rows, s.opts)
		}
	}
	files, err := filepath.Glob("testdata/v1/*.chunk")
	if err != nil || len(files) < 3 {
		t.Fatalf("samples are missing: %v %v", files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(f[:len(f)-len(".chunk")] + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var want sampleFile
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if d := diffRows(want.rows(), mustDecode(t, data)); d != "" {
			t.Errorf("%s: %s", f, d)
		}
	}
}

func writeSample(t *testing.T, path string, rows *Rows, opts EncoderOptions) {
	t.Helper()
	if _, err := os.Stat(path + ".chunk"); err == nil {
		return
	}
	text, err := json.Marshal(toSample(rows))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for ext, b := range map[string][]byte{".chunk": mustEncode(t, opts, rows), ".json": text} {
		if err := os.WriteFile(path+ext, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
