package manifests

import "embed"

// Dashboards are Grafana's dashboards, one file each, under dashboards/. Their data
// source is a variable named datasource.
//
//go:embed dashboards/*.json
var Dashboards embed.FS
