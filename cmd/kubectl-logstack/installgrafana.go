package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// grafanaTokenEnv holds the token of a service account. A flag would be seen in the
// list of processes.
const grafanaTokenEnv = "GRAFANA_TOKEN"

// grafanaFlags are for telling a Grafana over its API.
type grafanaFlags struct {
	url, tokenFile, source string
}

func (f *grafanaFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.url, "grafana-url", "", "Also add the data source and dashboards to the Grafana at this `URL` through its API. The token of a service account is taken from "+grafanaTokenEnv+".")
	fl.StringVar(&f.tokenFile, "grafana-token-file", "", "`file` with the token for --grafana-url instead (- for stdin).")
	fl.StringVar(&f.source, "grafana-source-url", "", "`URL` of the collector as the Grafana of --grafana-url sees it (default: the Service's in the cluster).")
}

// api reads the token and returns what to tell, nil for nobody. All that is wrong
// is said before any network.
func (f *grafanaFlags) api(a *app) (*install.GrafanaAPI, error) {
	if f.url == "" {
		if f.tokenFile != "" || f.source != "" {
			return nil, usagef("--grafana-token-file and --grafana-source-url are for --grafana-url")
		}
		return nil, nil
	}
	token := os.Getenv(grafanaTokenEnv)
	if f.tokenFile != "" {
		text, err := readInput(a, f.tokenFile)
		if err != nil {
			return nil, usagef("--grafana-token-file: %w", err)
		}
		token = string(text)
	}
	g := &install.GrafanaAPI{URL: f.url, Token: strings.TrimSpace(token), Source: f.source}
	if g.Token == "" {
		return nil, usagef("--grafana-url needs the token of a service account of that Grafana, in %s or --grafana-token-file", grafanaTokenEnv)
	}
	if err := g.Validate(); err != nil {
		return nil, &usageError{err}
	}
	return g, nil
}

// tellGrafana adds the data source and the dashboards. The collector runs by then.
func tellGrafana(ctx context.Context, g *install.GrafanaAPI, values install.Values, obs install.Observer) error {
	if g == nil {
		return nil
	}
	if err := g.Add(ctx, values, obs); err != nil {
		return fmt.Errorf("the collector is installed, Grafana does not know of it all: %w", err)
	}
	return nil
}
