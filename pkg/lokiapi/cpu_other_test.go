//go:build !unix

package lokiapi

import "time"

func cpuTime() time.Duration { return 0 }
