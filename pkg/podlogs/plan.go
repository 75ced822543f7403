package podlogs

// action is what a target does next.
type action int

const (
	// doWait: nothing can be read until the status changes.
	doWait action = iota
	// doRead: a run is going on.
	doRead
	// doDrain: a run has ended and is to be read to its end.
	doDrain
	// doSkip: runs were lost; their gap is to be stored.
	doSkip
)

// step is the answer of plan.
type step struct {
	do   action
	inst instance
	// previous says that inst is served with previous=true.
	previous bool
	// done says, with doWait, that everything there is has been read.
	done bool
	// lost is the number of runs of which nothing was read, with doSkip. The
	// rest of the run at the position may be missing too.
	lost int
}

// plan compares how far a target was read with what the status says. The API
// serves two runs only, the current and the previous one; what lies before
// them and was not read is lost.
func plan(pos position, v *containerView) step {
	cur, prev := v.current, v.previous
	switch {
	case !cur.exists():
		return step{do: doWait}
	case pos.instance == "":
		// First contact: what happened before is nobody's gap.
		if prev.exists() {
			return step{do: doDrain, inst: prev, previous: true}
		}
		return readOrDrain(cur)
	case pos.instance == cur.id:
		if pos.done {
			return step{do: doWait, done: true}
		}
		return readOrDrain(cur)
	case pos.instance == prev.id:
		if !pos.done {
			return step{do: doDrain, inst: prev, previous: true}
		}
		return readOrDrain(cur)
	}
	// The run at the position is served no more.
	next, previous := cur, false
	if prev.exists() && prev.restart > pos.restart {
		next, previous = prev, true
	}
	lost := max(int(next.restart-pos.restart)-1, 0)
	if !pos.done || lost > 0 {
		return step{do: doSkip, inst: next, lost: lost}
	}
	if previous {
		return step{do: doDrain, inst: next, previous: true}
	}
	return readOrDrain(next)
}

func readOrDrain(i instance) step {
	if i.finished {
		return step{do: doDrain, inst: i}
	}
	return step{do: doRead, inst: i}
}
