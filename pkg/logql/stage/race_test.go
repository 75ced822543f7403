//go:build race

package stage

// raceEnabled: the race detector makes pools forget, and so allocates.
const raceEnabled = true
