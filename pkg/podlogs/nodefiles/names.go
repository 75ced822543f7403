package nodefiles

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Dir is the directory of one container on its node.
type Dir struct {
	// Host is the node's address, an IP address as a pod's status has it.
	Host string
	// Node is its name, for messages.
	Node string
	// UID is the pod's uid; that of a static pod is the hash of its
	// configuration (annotation kubernetes.io/config.hash).
	Namespace, Pod, UID, Container string
}

// Names as Kubernetes allows them. Nothing that passes can leave the directory.
var (
	label     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	uid       = regexp.MustCompile(`^[0-9a-zA-Z]([-0-9a-zA-Z]{0,126}[0-9a-zA-Z])?$`)
)

// path is what follows /logs/.
func (d Dir) path() (string, error) {
	if !label.MatchString(d.Namespace) || !label.MatchString(d.Container) || !uid.MatchString(d.UID) ||
		len(d.Pod) > 253 || !subdomain.MatchString(d.Pod) {
		return "", fmt.Errorf("namespace %q, pod %q, uid %q, container %q: not all of these are names of Kubernetes", d.Namespace, d.Pod, d.UID, d.Container)
	}
	return "pods/" + d.Namespace + "_" + d.Pod + "_" + d.UID + "/" + d.Container + "/", nil
}

// File is the name of one log file of a container.
type File struct {
	// Run is the restart count of the run that wrote it.
	Run int32
	// Stamp is the time of the rotation, "20261122-101500" in the node's zone,
	// "" for the live file.
	Stamp string
	// Gzip says that the file is compressed.
	Gzip bool
}

// Live is the file that a run is writing, or wrote last.
func Live(run int32) File { return File{Run: run} }

// Live says whether it is the file that a run is writing, or wrote last.
func (f File) Live() bool { return f.Stamp == "" }

// Name is the name in the directory.
func (f File) Name() string {
	s := strconv.Itoa(int(f.Run)) + ".log"
	if f.Stamp != "" {
		s += "." + f.Stamp
	}
	if f.Gzip {
		s += ".gz"
	}
	return s
}

var fileName = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})\.log(?:\.([0-9]{8}-[0-9]{6})(\.gz)?)?$`)

// ParseName reads the name of a log file; others, such as the temporary file of
// a compression, are not ok.
func ParseName(name string) (f File, ok bool) {
	m := fileName.FindStringSubmatch(name)
	if m == nil {
		return f, false
	}
	run, err := strconv.ParseInt(m[1], 10, 32)
	if err != nil {
		return f, false
	}
	return File{Run: int32(run), Stamp: m[2], Gzip: m[3] != ""}, true
}

// compare orders files as they were written, by name as the kubelet itself does.
func (f File) compare(o File) int {
	switch {
	case f.Run != o.Run:
		return int(f.Run) - int(o.Run)
	case f.Live() != o.Live():
		if f.Live() {
			return 1
		}
		return -1
	}
	return strings.Compare(f.Stamp, o.Stamp)
}

// sortFiles puts files into the order in which they were written. A file that
// exists plain and compressed, as during the compression, stays plain.
func sortFiles(files []File) []File {
	slices.SortFunc(files, func(a, b File) int {
		if c := a.compare(b); c != 0 || a.Gzip == b.Gzip {
			return c
		}
		if b.Gzip {
			return -1
		}
		return 1
	})
	return slices.CompactFunc(files, func(a, b File) bool { return a.compare(b) == 0 })
}

// OfRun are the files of one run, in the order in which they were written.
func OfRun(files []File, run int32) []File {
	i := slices.IndexFunc(files, func(f File) bool { return f.Run >= run })
	if i < 0 {
		return nil
	}
	files = files[i:]
	if j := slices.IndexFunc(files, func(f File) bool { return f.Run > run }); j >= 0 {
		files = files[:j]
	}
	return files
}

const (
	// maxListing bounds a listing in bytes, maxFiles in files: the kubelet keeps
	// five per run by default and two runs.
	maxListing = 1 << 20
	maxFiles   = 1000
)

// ParseListing reads the files out of a directory listing as Go's
// http.FileServer writes it: one link per line.
func ParseListing(src io.Reader) ([]File, error) {
	limited := &io.LimitedReader{R: src, N: maxListing + 1}
	s := bufio.NewScanner(limited)
	var files []File
	for s.Scan() {
		_, rest, ok := strings.Cut(s.Text(), `<a href="`)
		if !ok {
			continue
		}
		href, _, ok := strings.Cut(rest, `"`)
		if !ok {
			continue
		}
		name, err := url.PathUnescape(href)
		if err != nil {
			continue
		}
		if f, ok := ParseName(name); ok {
			files = append(files, f)
		}
		if len(files) > maxFiles {
			return nil, fmt.Errorf("the directory has more than %d log files", maxFiles)
		}
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("the directory's listing is longer than %d bytes", maxListing)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("reading the directory's listing: %w", err)
	}
	return sortFiles(files), nil
}
