package server

import (
	"net/http"
)

// Rules are not evaluated here; alert rules that Grafana manages need none of
// this, they only query. What follows makes Grafana, lokitool and dashboards
// see a ruler without groups that cannot be written to: Grafana recognises the
// words of Loki's read-only rule store and then offers no editor.
const (
	noRuleGroups  = "no rule groups found"
	rulesReadOnly = " unsupported in rule local store: this server evaluates no rules, use alert rules that Grafana manages"
)

// rulesRoutes are the ruler's, in all the places where it is looked for.
func (s *Server) rulesRoutes(plain func(pattern, route string, h http.HandlerFunc)) {
	refuse := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { s.writeError(w, r, statusErrorf(code, "%s", text)) }
	}
	for _, path := range []string{v1 + "/rules", "/api/prom/rules"} {
		plain("GET "+path, path, refuse(http.StatusNotFound, noRuleGroups))
		plain("GET "+path+"/{namespace}", path, refuse(http.StatusNotFound, noRuleGroups))
		plain("GET "+path+"/{namespace}/{group}", path, refuse(http.StatusBadRequest, "GetRuleGroup"+rulesReadOnly))
		plain("POST "+path+"/{namespace}", path, refuse(http.StatusBadRequest, "SetRuleGroup"+rulesReadOnly))
		plain("DELETE "+path+"/{namespace}", path, refuse(http.StatusBadRequest, "DeleteNamespace"+rulesReadOnly))
		plain("DELETE "+path+"/{namespace}/{group}", path, refuse(http.StatusBadRequest, "DeleteRuleGroup"+rulesReadOnly))
	}
	plain("GET /prometheus/api/v1/rules", "/prometheus/api/v1/rules", s.promRules)
	plain("GET /prometheus/api/v1/alerts", "/prometheus/api/v1/alerts", s.promAlerts)
}

// promAnswer is the envelope of Prometheus' API. Loki sends the empty errors too.
type promAnswer struct {
	Status    string `json:"status"`
	Data      any    `json:"data"`
	ErrorType string `json:"errorType"`
	Error     string `json:"error"`
}

func (s *Server) promRules(w http.ResponseWriter, r *http.Request) {
	switch kind := r.URL.Query().Get("type"); kind {
	case "", "alert", "record":
		s.orError(w, r, writeJSON(w, http.StatusOK, promAnswer{Status: "success", Data: map[string]any{"groups": []any{}}}))
	default:
		s.refused(r, reasonParameter)
		s.orError(w, r, writeJSON(w, http.StatusBadRequest, promAnswer{
			Status: "error", ErrorType: "bad_data", Error: "type must be alert or record, not \"" + cut(kind, 100) + "\"",
		}))
	}
}

func (s *Server) promAlerts(w http.ResponseWriter, r *http.Request) {
	s.orError(w, r, writeJSON(w, http.StatusOK, promAnswer{Status: "success", Data: map[string]any{"alerts": []any{}}}))
}
