package rig

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

// Stream is the stream of a CRI record.
type Stream string

// The two streams of a container.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Record is one record of a CRI log file: "<time> <stream> <P|F> <data>\n".
type Record struct {
	Time    time.Time // written in its own zone, as the runtimes do
	Stream  Stream
	Partial bool   // tag P: the line goes on in the next record of the stream
	Data    []byte // without newline
}

// Names that the kubelet's log manager gives to rotated files.
const (
	rotatedStamp = "20060102-150405"
	gzSuffix     = ".gz"
	tmpSuffix    = ".tmp"
)

// defaultMaxFiles is the kubelet's default containerLogMaxFiles: the live file,
// one plain rotated file, the others compressed.
const defaultMaxFiles = 5

// RotateOptions chooses how a rotation goes.
type RotateOptions struct {
	// FailReopen plays a runtime whose ReopenContainerLog fails: the kubelet
	// renames the file back, and a follower opens it a second time.
	FailReopen bool
	// LateToOld is written to the renamed file after the new one exists, as
	// containerd flushes what was still in its pipe.
	LateToOld []Record
}

// logFile is the log of one container instance. Its methods may be called from
// several goroutines.
type logFile struct {
	mu       sync.Mutex
	path     string
	f        *os.File
	closed   bool // no more writing
	shut     bool // f is open only during a call, to save descriptors
	size     int64
	maxFiles int
	stamp    time.Time // name of the newest rotated file
	buf      []byte
}

func newLogFile(path string, maxFiles int, shut bool) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("container log: %w", err)
	}
	l := &logFile{path: path, maxFiles: maxFiles, shut: shut}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, l.rest()
}

// acquire makes f usable; rest must follow.
func (l *logFile) acquire() error {
	if l.closed {
		return fmt.Errorf("container log %s: %w", l.path, fs.ErrClosed)
	}
	if l.f == nil {
		return l.open()
	}
	return nil
}

func (l *logFile) rest() error {
	if !l.shut || l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("container log: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("container log: %w", err)
	}
	l.f, l.size = f, fi.Size()
	return nil
}

// write appends records with one write call.
func (l *logFile) write(recs ...Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = encode(l.buf[:0], recs)
	return l.append(l.buf)
}

func (l *logFile) append(b []byte) error {
	if err := l.acquire(); err != nil {
		return err
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	if err = errors.Join(err, l.rest()); err != nil {
		return fmt.Errorf("container log: %w", err)
	}
	return nil
}

func encode(b []byte, recs []Record) []byte {
	for _, r := range recs {
		b = r.Time.AppendFormat(b, time.RFC3339Nano)
		b = append(b, ' ')
		b = append(b, r.Stream...)
		if r.Partial {
			b = append(b, " P "...)
		} else {
			b = append(b, " F "...)
		}
		b = append(b, r.Data...)
		b = append(b, '\n')
	}
	return b
}

// raw appends bytes as they are: broken records, foreign formats.
func (l *logFile) raw(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(b)
}

func (l *logFile) bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// close ends writing; the file stays readable.
func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// remove deletes the live and the rotated files, as container garbage
// collection does. Readers that have them open read on.
func (l *logFile) remove() error {
	err := l.close()
	files, globErr := filepath.Glob(l.path + "*")
	err = errors.Join(err, globErr)
	for _, f := range files {
		if rmErr := os.Remove(f); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	return err
}

// rotate does what containerLogManager.rotateLog of the kubelet does, in its
// order (pkg/kubelet/logs/container_log_manager.go): remove what is too much,
// compress older files, rename the live file, have the runtime reopen it.
func (l *logFile) rotate(opts RotateOptions) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.acquire(); err != nil {
		return err
	}
	defer l.rest() //nolint:errcheck // nothing was written through it
	if err := l.shelve(); err != nil {
		return fmt.Errorf("rotate %s: %w", l.path, err)
	}
	// The kubelet's names have whole seconds; a test that rotates faster gets
	// the following seconds, so that no rotated file is overwritten.
	stamp := time.Now().Truncate(time.Second)
	if !stamp.After(l.stamp) {
		stamp = l.stamp.Add(time.Second)
	}
	rotated := l.path + "." + stamp.Format(rotatedStamp)
	if err := os.Rename(l.path, rotated); err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	if opts.FailReopen {
		return os.Rename(rotated, l.path)
	}
	l.stamp = stamp
	old := l.f
	if err := l.open(); err != nil {
		return err
	}
	var err error
	if len(opts.LateToOld) > 0 {
		_, err = old.Write(encode(nil, opts.LateToOld))
	}
	return errors.Join(err, old.Close())
}

// shelve prepares the rotated files for one more.
func (l *logFile) shelve() error {
	logs, err := filepath.Glob(l.path + ".*")
	if err != nil {
		return err
	}
	sort.Strings(logs)
	for keep := max(l.maxFiles-2, 0); len(logs) > keep; logs = logs[1:] {
		if err := os.Remove(logs[0]); err != nil {
			return err
		}
	}
	for _, log := range logs {
		if strings.HasSuffix(log, gzSuffix) {
			continue
		}
		if err := compress(log); err != nil {
			return err
		}
	}
	return nil
}

func compress(path string) (err error) {
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	tmp := path + tmpSuffix
	dst, err := os.Create(tmp)
	if err != nil {
		return err
	}
	w := gzip.NewWriter(dst)
	_, err = io.Copy(w, src)
	if err = errors.Join(err, w.Close(), dst.Close()); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("compress %s: %w", path, err)
	}
	if err := os.Rename(tmp, path+gzSuffix); err != nil {
		return err
	}
	return os.Remove(path)
}
