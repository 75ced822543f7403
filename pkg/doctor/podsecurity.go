package doctor

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/conf"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// podSecurityChecks judge pod templates as the API server's own admission
// does: with its code.
func podSecurityChecks() []Check {
	needs := []snapshot.Input{snapshot.Namespaces, snapshot.Stacks}
	return []Check{
		{
			Code: "LS0305", Severity: Warning, Title: "the PodSecurity labels of namespaces can be read",
			Explain: "A level that is not privileged, baseline or restricted, or a version that is not latest or vX.Y, is treated as restricted (enforce) or ignored: a typing mistake in a label changes what may run.",
			Fix:     "kubectl label ns NAMESPACE pod-security.kubernetes.io/enforce=baseline --overwrite",
			Needs:   []snapshot.Input{snapshot.Namespaces},
			Run:     checkLabels,
		},
		{
			Code: "LS0301", Severity: Error, Title: "the namespace admits the pods of the log stack",
			Explain: "Each pod template is evaluated by Kubernetes's own PodSecurity code against the level that the namespace enforces (pod-security.kubernetes.io/enforce). A refused pod is never created: the controller only writes an event. Log collectors that read files need a hostPath volume, which baseline and restricted forbid.",
			Fix:     "read logs through the API (loki.source.kubernetes needs no hostPath); or kubectl label ns NAMESPACE pod-security.kubernetes.io/enforce=privileged --overwrite",
			Needs:   needs, Applies: hasStacks, Run: checkEnforce,
		},
		{
			Code: "LS0304", Severity: Warning, Title: "the collector reads in a way that its namespace admits",
			Explain: "A file source needs /var/log of the node, by a hostPath volume that a namespace with the level baseline or restricted forbids. Reading through the API needs no volume and works at every level.",
			Fix:     "replace loki.source.file by loki.source.kubernetes \"pods\" { targets = ..., forward_to = ... }",
			Needs:   []snapshot.Input{snapshot.Namespaces, snapshot.Collectors}, Applies: hasFileSources, Run: checkFileSource,
		},
		{
			Code: "LS0303", Severity: Warning, Title: "the pods of the log stack satisfy the warn and audit levels",
			Explain: "The levels warn and audit forbid nothing yet: kubectl prints a warning, the audit log gets an entry. They announce what enforce will be.",
			Fix:     "set the securityContext that the finding asks for",
			Needs:   needs, Applies: hasStacks, Run: checkWarnLevels,
		},
	}
}

func hasStacks(s *snapshot.Snapshot) bool { return len(s.Stacks()) > 0 }

func checkLabels(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, ns := range s.Namespaces() {
		for _, mode := range []string{"enforce", "audit", "warn"} {
			label := "pod-security.kubernetes.io/" + mode
			if v, ok := ns.Labels[label]; ok {
				if _, err := api.ParseLevel(v); err != nil {
					out = append(out, labelFinding(s, ns, label, v, "privileged, baseline or restricted"))
				}
			}
			if v, ok := ns.Labels[label+"-version"]; ok {
				if _, err := api.ParseVersion(v); err != nil {
					out = append(out, labelFinding(s, ns, label+"-version", v, "latest or v1.NN"))
				}
			}
		}
	}
	return out
}

func labelFinding(s *snapshot.Snapshot, ns *corev1.Namespace, label, value, want string) Finding {
	return Finding{Status: Warning, Ref: s.Ref(ns, "metadata", "labels", label), Detail: fmt.Sprintf("label %s=%s: it has to be %s", label, value, want),
		Fix: fmt.Sprintf("kubectl label ns %s %s=VALUE --overwrite", ns.Name, label)}
}

func namespaceOf(s *snapshot.Snapshot, name string) *corev1.Namespace {
	for _, ns := range s.Namespaces() {
		if ns.Name == name {
			return ns
		}
	}
	return nil
}

func checkEnforce(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, c := range s.Stacks() {
		ns := namespaceOf(s, c.Namespace())
		if ns == nil {
			continue
		}
		level := install.PodSecurityLevels(ns.Labels).Enforce
		detail := install.PodSecurityViolations(level, c.Template)
		if detail == "" {
			continue
		}
		kind := strings.ToLower(c.Kind)
		f := Finding{Status: Error, Ref: s.Ref(c.Workload), Detail: fmt.Sprintf("%s/%s violates PodSecurity %q: %s", kind, c.Name(), level.String(), detail),
			Explains: []string{"LS0302@*/" + c.Namespace() + "/" + c.Name(), "LS0410@*/" + c.Namespace() + "/" + c.Name(), "LS0408@*/" + c.Namespace() + "/" + c.Name()}}
		switch {
		case c.Product == snapshot.Logstack:
			f.Fix = "the collector passes `restricted` as it is shipped: undo the change to its pod template: " + install.Command(c.Namespace(), "install --force-conflicts")
		case strings.Contains(detail, "hostPath") && c.Product.IsCollector():
			f.Fix = "read logs through the API (loki.source.kubernetes needs no hostPath), or: kubectl label ns " + c.Namespace() + " pod-security.kubernetes.io/enforce=privileged --overwrite"
		default:
			f.Fix = "change the securityContext of " + kind + "/" + c.Name() + " as the message says, or: kubectl label ns " + c.Namespace() + " pod-security.kubernetes.io/enforce=privileged --overwrite"
		}
		out = append(out, f)
	}
	return out
}

func checkWarnLevels(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, c := range s.Stacks() {
		ns := namespaceOf(s, c.Namespace())
		if ns == nil {
			continue
		}
		p := install.PodSecurityLevels(ns.Labels)
		seen := ""
		for _, mode := range []struct {
			name  string
			level api.LevelVersion
		}{{"warn", p.Warn}, {"audit", p.Audit}} {
			detail := install.PodSecurityViolations(mode.level, c.Template)
			if detail == "" || detail == seen || install.PodSecurityViolations(p.Enforce, c.Template) == detail {
				continue
			}
			seen = detail
			out = append(out, Finding{Status: Warning, Ref: s.Ref(c.Workload), Detail: fmt.Sprintf("%s/%s would violate PodSecurity %q (%s): %s", strings.ToLower(c.Kind), c.Name(), mode.level.String(), mode.name, detail),
				Fix: "set what the message asks for in the securityContext of the pod and its containers, before enforce is raised"})
		}
	}
	return out
}

func checkFileSource(s *snapshot.Snapshot) []Finding {
	return onConfigs(func(c collectorCtx) []Finding {
		ns := namespaceOf(s, c.Namespace)
		if ns == nil {
			return nil
		}
		level := install.PodSecurityLevels(ns.Labels).Enforce
		if level.Level == api.LevelPrivileged {
			return nil
		}
		for _, src := range c.cfg.Sources {
			if src.Kind == conf.File {
				return []Finding{{Status: Warning, Ref: c.at(src.Pos), Detail: fmt.Sprintf("%s needs /var/log of the node, and namespace %s enforces %q, which forbids hostPath volumes", src.Component, ns.Name, level.String()),
					Fix: "replace it by loki.source.kubernetes \"pods\" { targets = discovery.relabel.pods.output, forward_to = [loki.write.default.receiver] }"}}
			}
		}
		return nil
	})(s)
}
