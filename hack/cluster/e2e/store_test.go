package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"
)

// A volume that is full, for real: the collector waits, says so, and catches up
// when there is room again. Nothing that it had read meanwhile is lost.
func TestVolumeFull(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("mounting a small volume needs Linux and root")
	}
	s := newScene(t, 3, lines.Plain)
	s.write(20)
	s.awaitAll()
	s.c.stop()
	data := filepath.Join(s.c.dir, "data")
	moved := data + ".before"
	must(t, errors.Join(os.Rename(data, moved), os.Mkdir(data, 0o755)))
	must(t, unix.Mount("tmpfs", data, "tmpfs", 0, "size=48m"))
	t.Cleanup(func() {
		if s.c.cmd != nil {
			s.c.stop()
		}
		must(t, unix.Unmount(data, 0))
	})
	must(t, os.CopyFS(data, os.DirFS(moved)))
	s.c.start()
	s.write(20)
	s.awaitAll()

	ballast := filepath.Join(data, "ballast")
	fill(t, ballast)
	stop := s.background(200)
	s.c.await("the log to say that the volume is full", func() error {
		b, err := os.ReadFile(s.c.log.Name())
		if err == nil && !strings.Contains(string(b), "no space left") {
			err = errors.New("it does not")
		}
		return err
	})
	must(t, os.Remove(ballast))
	stop()
	s.awaitAll()
	fill(t, ballast) // and once more, with a crash on the full volume
	stop = s.background(200)
	pause(time.Duration(times(3, 1)) * time.Second)
	s.c.kill()
	must(t, os.Remove(ballast))
	s.c.start()
	stop()
	s.awaitAll()
	s.verify()
}

// fill writes a file until nothing more fits beside it.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else {
			must(t, err)
		}
	}
}
