package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// complaint is something that collectors write into their own logs.
type complaint struct {
	// kind is the name of the complaint in a finding's place: causes name it
	// to say which symptoms they explain ([complaintOf]).
	kind  string
	lines *regexp.Regexp
	// codes are the checks that look for the cause, fix says what to do when
	// they find none.
	codes, fix string
}

// complaints are told apart by the words of Go's network code (Alloy,
// Promtail, our collector), of libcurl and of Rust's hyper (Fluent Bit,
// Vector), and of Loki's answers. The first one that fits a line counts.
var complaints = []complaint{
	{"no-such-host", regexp.MustCompile(`(?i)no such host|getaddrinfo|failed to lookup address|name or service not known|could not resolve`), "LS0501, LS0506, LS0507", "correct the host of the URL: kubectl get svc -A"},
	{"refused", regexp.MustCompile(`(?i)connection refused|no route to host|econnrefused`), "LS0503, LS0504", "does the Service have this port, and a ready pod? kubectl get svc,endpointslices -n NAMESPACE"},
	{"timeout", regexp.MustCompile(`(?i)i/o timeout|context deadline exceeded|connection timed out|timed out`), "LS0509", "is there a NetworkPolicy in between? kubectl get networkpolicy -A; kubectl logstack doctor --probe asks from inside"},
	{"tenant", regexp.MustCompile(`(?i)no org id|\b401\b.*(push|loki)|status=401`), "LS0711", "name a tenant (tenant_id), or loki.auth_enabled: false in the values of Loki"},
	{"too-many", regexp.MustCompile(`(?i)ingestion rate limit|rate limit exceeded|per.stream rate limit|status=429|too many requests|\b429\b`), "LS1004", "raise the limit that the line names (limits_config), or send less"},
	{"too-old", regexp.MustCompile(`(?i)too far behind|timestamp too old|entry out of order|greater_than_max_sample_age|too far in the future|timestamp too new`), "LS1004, LS1101", "correct the clock of the node, or raise limits_config.reject_old_samples_max_age"},
	{"streams", regexp.MustCompile(`(?i)maximum active stream limit|max.*streams.*exceeded`), "LS0712", "fewer labels with many values"},
	{"not-found", regexp.MustCompile(`(?i)status=404|\b404\b.*(page )?not found`), "LS0511, LS0508", "correct the path of the URL: push is /loki/api/v1/push"},
	{"stat-failed", regexp.MustCompile(`(?i)stat failed|no such file or directory|failed to tail|error reading directory`), "LS0704, LS0706, LS0707", "do the files exist in the container? kubectl exec -n NAMESPACE POD -- ls /var/log/pods"},
	{"forbidden", regexp.MustCompile(`(?i)is forbidden: user|forbidden: User|cannot (get|list|watch) resource`), "LS0203, LS0204", "give the ServiceAccount the right that the line names"},
	{"replicas", regexp.MustCompile(`(?i)live replicas required|unhealthy instances in the ring|empty ring`), "LS0409", "as many ready ingesters as loki.commonConfig.replication_factor asks for"},
	{"full", regexp.MustCompile(`(?i)no space left on device`), "LS0902", "enlarge the volume, or shorten the retention"},
}

// complaintsIn is what a cause writes into Explains for complaints of these
// kinds by pods of a namespace; "" is any.
func complaintsIn(namespace string, kinds ...string) []string {
	var out []string
	for _, k := range kinds {
		out = append(out, "LS0715@pod/"+orElse(namespace, "*")+"/* "+k)
	}
	return out
}

// logChecks look at the collectors' own logs.
func logChecks() []Check {
	return []Check{{
		Code: "LS0715", Severity: Error, Title: "collectors do not complain in their logs",
		Explain: "The logs of one pod of each collector are read, ten minutes back, and searched for the complaints of Alloy, Promtail, Fluent Bit, Vector and our collector: no such host, connection refused, a missing tenant, refused or too old lines, files that are not there, missing rights. Each names the checks that look for its cause.",
		Fix:     "kubectl logs -n NAMESPACE POD --since=10m",
		Needs:   []snapshot.Input{snapshot.Server, snapshot.Logs, snapshot.Pods},
		Applies: func(s *snapshot.Snapshot) bool { return len(s.Logs(snapshot.CollectorLog)) > 0 },
		Run:     collectorComplaints,
	}}
}

// badLine tells complaints from what a collector only mentions: a level, or a
// word that no successful line has.
var badLine = regexp.MustCompile(`(?i)level=(error|warn)|"level":\s*"(error|warn)|\[ ?(error|warn)\]|\b(ERROR|WARN)\b|failed|error`)

// lasting is the number of complaints in ten minutes from which on they are no
// passing trouble.
const lasting = 3

func collectorComplaints(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, e := range s.Logs(snapshot.CollectorLog) {
		if e.Err != nil {
			out = append(out, unreadLog(s, e))
			continue
		}
		n := map[string]int{}
		last := map[string]string{}
		for _, line := range e.Lines {
			if !badLine.MatchString(line) {
				continue
			}
			for i := range complaints {
				if complaints[i].lines.MatchString(line) {
					n[complaints[i].kind]++
					last[complaints[i].kind] = line
					break
				}
			}
		}
		for i := range complaints {
			c := &complaints[i]
			if n[c.kind] == 0 {
				continue
			}
			f := Finding{
				Status: Error, Ref: s.Ref(e.Pod).WithPath(c.kind),
				Detail: fmt.Sprintf("%s in %d minutes: %s", plural(n[c.kind], "such line"), int(snapshot.LogWindow.Minutes()), quoted(last[c.kind])),
				Fix:    strings.NewReplacer("NAMESPACE", e.Pod.Namespace, "POD", e.Pod.Name).Replace(c.fix) + " (the cause: " + c.codes + ")", Explains: []string{"LS1003", "LS1005"},
			}
			if n[c.kind] < lasting || isOurs(s, e.Pod) {
				f.Status = Warning // a restart of the store, or of a node's kubelet, that is over by itself
			}
			out = append(out, f)
		}
	}
	return out
}

// unreadLog is the skip of a log that could not be read.
func unreadLog(s *snapshot.Snapshot, e *snapshot.LogExcerpt) Finding {
	line, _, _ := strings.Cut(e.Err.Error(), "\n")
	f := Finding{Status: Skip, Ref: s.Ref(e.Pod), Detail: fmt.Sprintf("could not read the log of %s: %s", e.Container, line)}
	if e.Right != nil {
		f.Right = e.Right.String()
	}
	return f
}

var urlPassword = regexp.MustCompile(`(://[^/\s:@]*):[^/\s@]*@`)

// quotedLength bounds a quoted line: reports are read in terminals.
const quotedLength = 240

// quoted is a line of a log for a report: without passwords in URLs, not too long.
func quoted(line string) string {
	line = urlPassword.ReplaceAllString(strings.TrimSpace(line), "$1:xxxxx@")
	if r := []rune(line); len(r) > quotedLength {
		return string(r[:quotedLength]) + "…"
	}
	return line
}

// grafanaComplaint are the words of Grafana and of its sidecar (k8s-sidecar)
// about datasources that did not come in.
var grafanaComplaint = []struct {
	lines *regexp.Regexp
	fix   string
}{
	{regexp.MustCompile(`(?i)only one datasource per organization`), "isDefault: false in one of the datasources (LS0806)"},
	{regexp.MustCompile(`(?i)datasource provisioning error|failed to provision data ?sources|data source not found|invalid data source`), "mend the datasource that the line names, and restart Grafana: kubectl rollout restart deployment -n NAMESPACE"},
	{regexp.MustCompile(`(?i)(403|forbidden).*(configmaps|secrets)|(configmaps|secrets).*(403|forbidden)|reason: forbidden`), "the sidecar may not list ConfigMaps there (LS0206); grafana values: rbac.namespaced: false"},
	{regexp.MustCompile(`(?i)(error|failed|exception).*(api/admin/provisioning|reload)|(401|403|500).*api/admin/provisioning`), "the sidecar could not make Grafana read the file: check its REQ_USERNAME and REQ_PASSWORD, and restart it: kubectl delete pod -n NAMESPACE POD"},
	{regexp.MustCompile(`(?i)max retries exceeded|connection refused`), "the sidecar did not reach Grafana or the API server: restart it: kubectl delete pod -n NAMESPACE POD"},
}

// loadedChecks ask whether Grafana took its datasources.
func loadedChecks() []Check {
	return []Check{{
		Code: "LS0809", Severity: Warning, Title: "Grafana has loaded its datasources",
		Explain: "The logs of Grafana and of its datasource sidecar say when a datasource could not be read, written or provisioned. Grafana then keeps what it had.",
		Fix:     "mend the datasource that the line names, and restart Grafana",
		Needs:   []snapshot.Input{snapshot.Server, snapshot.Logs, snapshot.Pods},
		Applies: func(s *snapshot.Snapshot) bool { return len(s.Logs(snapshot.GrafanaLog)) > 0 },
		Run:     notLoaded,
	}}
}

func notLoaded(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, e := range s.Logs(snapshot.GrafanaLog) {
		if e.Err != nil {
			out = append(out, unreadLog(s, e))
			continue
		}
		for _, c := range grafanaComplaint {
			i := lastIndex(e.Lines, func(l string) bool { return badLine.MatchString(l) && c.lines.MatchString(l) })
			if i < 0 || recovered(e.Lines[i+1:]) {
				continue
			}
			out = append(out, Finding{Status: Warning, Ref: s.Ref(e.Pod), Detail: e.Container + ": " + quoted(e.Lines[i]),
				Fix: strings.NewReplacer("NAMESPACE", e.Pod.Namespace, "POD", e.Pod.Name).Replace(c.fix)})
			break
		}
	}
	return out
}

// recovered: after the complaint the same program says that it went well.
func recovered(after []string) bool {
	return slices.ContainsFunc(after, func(l string) bool {
		return strings.Contains(l, "Datasources config reloaded") || strings.Contains(l, "datasources/reload") && strings.Contains(l, "200")
	})
}

func lastIndex(lines []string, is func(string) bool) int {
	for i := len(lines) - 1; i >= 0; i-- {
		if is(lines[i]) {
			return i
		}
	}
	return -1
}
