// Package output prints what commands found: tables for eyes, and the small
// manners of a terminal (colour only where it shows, widths, progress on
// stderr). It knows nothing of logs or of Kubernetes.
package output
