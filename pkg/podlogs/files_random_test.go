package podlogs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestRandomFaultsWithFiles is TestRandomFaults with files to read: all of them
// stay, so nothing may be missing and no gap may be marked, whatever happens.
func TestRandomFaultsWithFiles(t *testing.T) {
	seeds := 8
	if testing.Short() {
		seeds = 3
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	for _, mode := range []NodeFilesMode{NodeFilesBackfill, NodeFilesAll, "mixed"} {
		for seed := range uint64(seeds) {
			if *seedFlag != 0 && seed != *seedFlag {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", mode, seed), func(t *testing.T) {
				simulate(t, func(t *testing.T, k *cluster, m *memory) {
					x := &chaos{T: t, k: k, m: m, r: rand.New(rand.NewPCG(seed, 1)), faulty: rand.New(rand.NewPCG(seed, 2))}
					k.addPod("keeper", "a") // so that the node's address is known
					f, _ := serveFiles(k, mode)
					f.fault = x.fileFault
					x.change = func(o *Options) {
						// Of mixed, each start has another mode.
						use := mode
						if mode == "mixed" {
							use = []NodeFilesMode{NodeFilesBackfill, NodeFilesAll}[x.r.IntN(2)]
						}
						_, with := serveFiles(k, use)
						with(o)
						o.fileSource = f
					}
					x.noGaps = true
					x.started = func(c *collecting) { c.files.node("node-1").lacks(1000) }
					x.run()
				})
			})
		}
	}
}

// fileFault is called with the cluster's lock. Faults that speak of the node as
// a whole make what is missing final; they are left to other tests.
func (x *chaos) fileFault(op string) error {
	if op == "probe" || x.faulty.IntN(100) >= x.faults/12 {
		return nil
	}
	switch x.faulty.IntN(2) {
	case 0:
		return errors.New("connection reset")
	default:
		if op == "body" {
			return errors.New("connection reset")
		}
		return nil
	}
}
