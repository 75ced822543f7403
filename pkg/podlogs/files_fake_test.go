package podlogs

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

// fakeFiles is the /logs/ endpoint of the cluster's node: it shows the runs'
// files, all of them or the newest.
type fakeFiles struct {
	k *cluster
	// keep is how many files of a run there are, 0 means all.
	keep int
	// fault may refuse a request. It is called with the cluster's lock.
	fault func(op string) error
	asked map[string]int
}

// serveFiles makes the cluster's node serve files.
func serveFiles(k *cluster, mode NodeFilesMode) (*fakeFiles, func(*Options)) {
	f := &fakeFiles{k: k, asked: make(map[string]int)}
	return f, func(o *Options) {
		o.fileSource = f
		o.NodeFiles = NodeFilesOptions{Mode: mode, Namespace: "logstack", ServiceAccount: "logstack-node-logs"}
	}
}

func (f *fakeFiles) enter(op string) error {
	f.asked[op]++
	if f.fault != nil {
		return f.fault(op)
	}
	return nil
}

func (f *fakeFiles) Probe(context.Context, nodefiles.Dir) error {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	return f.enter("probe")
}

// named are the files of a run with their names; the last is live.
func (f *fakeFiles) named(run *fakeRun) (names []nodefiles.File, files []*fakeFile) {
	first := 0
	if f.keep > 0 {
		first = max(len(run.files)-f.keep, 0)
	}
	for i, file := range run.files[first:] {
		n := nodefiles.File{Run: run.restart}
		if at := first + i; at < len(run.files)-1 {
			n.Stamp = run.files[at+1].born.UTC().Format("20060102-150405")
			n.Gzip = at < len(run.files)-2
		}
		names, files = append(names, n), append(files, file)
	}
	return names, files
}

func (f *fakeFiles) runs(d nodefiles.Dir) []*fakeRun {
	p := f.k.pods[d.Namespace+"/"+d.Pod]
	if p == nil || string(p.pod.UID) != d.UID || p.containers[d.Container] == nil {
		return nil
	}
	return p.containers[d.Container].runs
}

func (f *fakeFiles) List(_ context.Context, d nodefiles.Dir) (all []nodefiles.File, err error) {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	if err := f.enter("list"); err != nil {
		return nil, err
	}
	for _, run := range f.runs(d) {
		names, _ := f.named(run)
		all = append(all, names...)
	}
	if len(all) == 0 {
		return nil, nodefiles.NotFound("no such directory")
	}
	return all, nil
}

// content is a file as it is now.
func (f *fakeFiles) content(d nodefiles.Dir, want nodefiles.File) (data []byte, modified time.Time, err error) {
	for _, run := range f.runs(d) {
		names, files := f.named(run)
		for i, n := range names {
			if n != want {
				continue
			}
			modified = files[i].born
			for _, l := range files[i].lines {
				modified = l.ts
				data = appendRecords(data, l)
			}
			return data, modified.Truncate(time.Second), nil
		}
	}
	return nil, modified, nodefiles.NotFound("no such file")
}

// appendRecords writes a line as the runtime would: by chance of its length to
// stderr, or in two records.
func appendRecords(data []byte, l fakeLine) []byte {
	stream, text := " stdout", l.text
	if len(text)%3 == 0 {
		stream = " stderr"
	}
	stamp := l.ts.UTC().Format(time.RFC3339Nano)
	if len(text)%4 == 0 && len(text) > 0 {
		data = append(append(append(append(data, stamp...), stream...), " P "...), text[:1]...)
		data = append(data, '\n')
		text = text[1:]
	}
	data = append(append(append(append(data, stamp...), stream...), " F "...), text...)
	return append(data, '\n')
}

func (f *fakeFiles) Head(_ context.Context, d nodefiles.Dir, file nodefiles.File) ([]byte, error) {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	if err := f.enter("head"); err != nil {
		return nil, err
	}
	data, _, err := f.content(d, file)
	return data[:min(len(data), nodefiles.HeadBytes)], err
}

func (f *fakeFiles) Open(_ context.Context, d nodefiles.Dir, file nodefiles.File, offset int64) (*nodefiles.Body, error) {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	if err := f.enter("open"); err != nil {
		return nil, err
	}
	data, modified, err := f.content(d, file)
	if err != nil {
		return nil, err
	}
	rest := data[min(int64(len(data)), offset):]
	var src io.Reader = bytes.NewReader(rest)
	if f.fault != nil && f.fault("body") != nil {
		src = io.MultiReader(bytes.NewReader(rest[:len(rest)/2]), brokenBody{})
	}
	b := nodefiles.NewBody(io.NopCloser(src), int64(len(data)), time.Since(modified) > 2*time.Second)
	b.Modified = modified
	return b, nil
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// gaps renders all gap entries.
func (m *memory) gaps() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, entries := range m.streams {
		for _, e := range entries {
			if e.Metadata.Has(MetaGap) {
				out = append(out, name+" "+e.Line+" "+e.Metadata.String())
			}
		}
	}
	return out
}
