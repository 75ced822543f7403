package bare

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountsUnder returns the mount points at or below dir, in mount order.
func mountsUnder(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var points []string
	for s := bufio.NewScanner(f); ; {
		if !s.Scan() {
			return points, s.Err()
		}
		if p := mountPoint(s.Text()); p == dir || strings.HasPrefix(p, dir+"/") {
			points = append(points, p)
		}
	}
}

// mountPoint returns field 5 of a mountinfo line (proc(5)), with the octal
// escapes of blanks and backslashes undone.
func mountPoint(line string) string {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return ""
	}
	var b strings.Builder
	for p := fields[4]; p != ""; {
		if p[0] == '\\' && len(p) >= 4 {
			if n, err := strconv.ParseUint(p[1:4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				p = p[4:]
				continue
			}
		}
		b.WriteByte(p[0])
		p = p[1:]
	}
	return b.String()
}

// unmountUnder unmounts everything below dir, last mounted first. A busy mount
// is detached, so that deleting dir never reaches into it.
func unmountUnder(dir string) error {
	points, err := mountsUnder(dir)
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	slices.Reverse(points)
	var errs []error
	for _, p := range points {
		err := unix.Unmount(p, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(p, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}
