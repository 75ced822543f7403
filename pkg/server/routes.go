package server

import (
	"net/http"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// v1 is where Loki's API begins.
const v1 = "/loki/api/v1"

// exploreRoutes lists the reads that tell what is stored, rather than the
// entries themselves.
func (s *Server) exploreRoutes(read func(path string, h handlerFunc)) {
	read(v1+"/labels", s.lookup(s.labelNames))
	read(v1+"/label", s.lookup(s.labelNames))
	read(v1+"/label/{name}/values", s.lookup(s.labelValues))
	read(v1+"/series", s.lookup(s.series))
	read(v1+"/index/stats", s.lookup(s.indexStats))
	read(v1+"/index/shards", s.lookup(s.indexShards))
	read(v1+"/index/volume", s.lookup(s.volume))
	read(v1+"/index/volume_range", s.lookup(s.volumeRange))
	read(v1+"/detected_labels", s.lookup(s.detectedLabels))
	read(v1+"/patterns", s.lookup(s.patterns))
	// What the oldest clients ask for.
	read("/api/prom/label", s.lookup(s.legacyLabelNames))
	read("/api/prom/label/{name}/values", s.lookup(s.legacyLabelValues))
	// These wait for their turn as queries, where they run one.
	read(v1+"/detected_fields", s.detectedFields)
	read(v1+"/detected_field/{name}/values", s.detectedFieldValues)
	read(v1+"/format_query", s.formatQuery)
}

// adminRoutes lists what is not about data.
func (s *Server) adminRoutes(plain func(pattern, route string, h http.HandlerFunc)) {
	plain("GET /ready", "/ready", s.ready)
	plain("GET "+v1+"/status/buildinfo", "buildinfo", s.buildInfo)
	plain("GET "+v1+"/drilldown-limits", "drilldown-limits", s.drilldownLimits)
	plain("GET /config", "/config", s.config)
	plain("GET /services", "/services", s.services)
	plain("GET "+lokiapi.StatusPath, lokiapi.StatusPath, s.status)
	plain("GET "+lokiapi.EchoPath, lokiapi.EchoPath, s.echo)
	plain("POST /flush", "/flush", s.withBackend(s.flush))
	plain("GET /config/tenant/v1/limits", "/config/tenant/v1/limits", s.tenantLimits)
	plain("GET /log_level", "/log_level", s.logLevel)
	plain("POST /log_level", "/log_level", s.withForm(s.setLogLevel))
	s.rulesRoutes(plain)
	s.deleteRoutes(plain)
}
