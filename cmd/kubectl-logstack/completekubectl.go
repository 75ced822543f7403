package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// kubectl's own completion asks a program of this name on the PATH for what
// stands behind "kubectl logstack": a script that calls us, or a link to or copy
// of us. (k8s.io/kubectl/pkg/cmd/plugin, plugin_completion.go)
const completionAlias = "kubectl_complete-logstack"

// kubectlCompletion finds us by the PATH, so that it outlives upgrades.
const kubectlCompletion = "#!/bin/sh\n# kubectl's completion of \"kubectl logstack\"\nexec kubectl-logstack __complete \"$@\"\n"

// installCompletion writes the program beside kubectl-logstack, as the PATH has
// it, and returns where. For Krew's plugins that is Krew's directory of links:
// Krew itself links one file of a plugin only.
func installCompletion() (string, error) {
	self, err := exec.LookPath("kubectl-logstack")
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", fmt.Errorf("kubectl-logstack is not in the PATH, where kubectl looks for its plugins: %w\n"+
			"  put its directory into the PATH first, or write the script yourself: kubectl-logstack completion kubectl > DIRECTORY/%s", err, completionAlias)
	}
	path := filepath.Join(filepath.Dir(self), completionAlias)
	content := []byte(kubectlCompletion)
	if runtime.GOOS == "windows" {
		// A script would need a shell: a copy of ourselves knows by its name what
		// it is asked.
		path += ".exe"
		if content, err = os.ReadFile(self); err != nil {
			return "", err
		}
	}
	if err := replaceProgram(path, content); err != nil {
		return "", fmt.Errorf("%w\n  kubectl looks in every directory of the PATH: write it into another one with kubectl logstack completion kubectl > DIRECTORY/%s", err, completionAlias)
	}
	return path, nil
}

// replaceProgram writes an executable file whole; one that is being run may be
// replaced. A link is replaced, not what it leads to.
func replaceProgram(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Chmod(0o755), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
