package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/kube"
)

// applyTimeout bounds the wait for one namespace's Deployments.
const applyTimeout = 2 * time.Minute

// applyManifests sends files, and the YAML files of directories, to the cluster
// of p, and waits until the Deployments in their namespaces are available.
func applyManifests(ctx context.Context, p provider, local bool, names []string, log io.Writer) error {
	files, err := manifestFiles(names)
	if err != nil {
		return err
	}
	api, err := kube.Open(p.Kubeconfig(), local)
	if err != nil {
		return err
	}
	defer api.Close()
	var namespaces []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		touched, err := api.Apply(ctx, data)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Fprintf(log, "%s applied\n", file)
		namespaces = append(namespaces, touched...)
	}
	slices.Sort(namespaces)
	for _, ns := range slices.Compact(namespaces) {
		begin := time.Now()
		if err := api.WaitAvailable(ctx, ns, applyTimeout); err != nil {
			return err
		}
		fmt.Fprintf(log, "namespace %s ready %s\n", ns, time.Since(begin).Round(100*time.Millisecond))
	}
	return nil
}

// manifestFiles replaces directories by the YAML files in them, sorted.
func manifestFiles(names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, name)
			continue
		}
		inside, err := filepath.Glob(filepath.Join(name, "*.yaml"))
		if err != nil {
			return nil, err
		}
		if len(inside) == 0 {
			return nil, fmt.Errorf("%s holds no YAML file", name)
		}
		files = append(files, inside...)
	}
	return files, nil
}
