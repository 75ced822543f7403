package doctor

import (
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/data"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// FileOptions completes the options of a file load with what the facts about
// charts know.
func FileOptions(o snapshot.FileOptions) snapshot.FileOptions {
	o.GuessChart = data.GuessChart
	return o
}
