package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"strconv"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/dustin/go-humanize"
)

const (
	// minMemory is the least that makes sense to run in.
	minMemory = 48 << 20
	// defaultMemory is used where nothing limits the process: a laptop, a
	// container without a limit.
	defaultMemory = 512 << 20
	// goShare is the part of the limit that Go's collector aims at. The rest is
	// for what it does not count: the binary, page tables, stacks of the kernel.
	goShare = 0.9
)

// memoryPlan says who may use how much, in bytes. The shares and what is
// allocated around them stay below the limit together.
type memoryPlan struct {
	total    int64
	store    int64
	push     int64 // decompressed bodies at once
	pushBody int64 // one body
	query    int64 // one query
	queries  int   // queries at once
	answers  int64 // results on their way to clients
	cache    int64 // results of metric queries that are kept
}

// planMemory finds the limit and divides it. Setting Go's limit is left to
// apply.
func planMemory(flag int64, log *slog.Logger) memoryPlan {
	total := flag
	if total == 0 {
		total = defaultMemory
		limit, err := memlimit.FromCgroup()
		switch {
		case err == nil && limit <= math.MaxInt64/2:
			total = max(int64(limit), minMemory)
			if int64(limit) < minMemory {
				log.Warn("the container's memory limit is very small", "limit", humanize.IBytes(limit), "needed", humanize.IBytes(minMemory))
			}
		case err != nil && !errors.Is(err, memlimit.ErrNoLimit) && !errors.Is(err, memlimit.ErrNoCgroup):
			log.Debug("cannot read the container's memory limit", "error", err)
		}
	}
	// strconv.IntSize is 32 on a 32-bit machine whatever its memory.
	if most := addressable(strconv.IntSize); total > most {
		log.Info("using a part of the memory: this program's addresses have 32 bits", "limit", humanize.IBytes(uint64(total)), "used", humanize.IBytes(uint64(most)))
		total = most
	}
	clamp := func(v, lo, hi int64) int64 { return min(max(v, lo), hi) }
	const mib = 1 << 20
	queries := clamp(total/(256*mib), 2, 8)
	return memoryPlan{
		total:    total,
		store:    clamp(total*7/16, 16*mib, 2<<30),
		push:     clamp(total/8, 4*mib, 128*mib),
		pushBody: clamp(total/16, 4*mib, 32*mib),
		queries:  int(queries),
		query:    clamp(total*3/16/queries, 4*mib, 256*mib),
		answers:  clamp(total/32, mib, 128*mib),
		cache:    clamp(total/32, mib, 64*mib),
	}
}

// addressable is the most memory to plan with where an int has that many bits. A
// 32-bit process has 2 to 4 GiB of addresses for all: the heap, which needs gaps
// to move in, and mapped index files, which grow with the volume.
func addressable(intSize int) int64 {
	if intSize == 32 {
		return 1 << 30
	}
	return math.MaxInt64
}

// apply sets Go's own limit, unless the operator did.
func (p memoryPlan) apply() error {
	_, err := memlimit.Set(memlimit.WithProvider(memlimit.Limit(uint64(p.total))), memlimit.WithRatio(goShare))
	if err != nil {
		return fmt.Errorf("setting the memory limit: %w", err)
	}
	// Half of the usual garbage: the live heap of an idle collector is small,
	// and so is the cost of collecting it more often.
	debug.SetGCPercent(50)
	return nil
}
