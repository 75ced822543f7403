package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/data"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// Category 09: storage.
func storageChecks() []Check {
	releases := []snapshot.Input{snapshot.Releases}
	return append([]Check{
		{
			Code: "LS0901", Severity: Error, Title: "the volumes of log stacks are bound",
			Explain: "A claim that stays pending keeps its pod from starting: its StorageClass does not exist, there is no default class, or nothing provisions volumes.",
			Fix:     "kubectl get storageclass; name one that exists, or provide a PersistentVolume",
			Needs:   []snapshot.Input{snapshot.Claims, snapshot.Stacks}, Uses: []snapshot.Input{snapshot.StorageClasses},
			Applies: func(s *snapshot.Snapshot) bool { return len(stackClaims(s)) > 0 }, Transient: true, Run: unboundClaims,
		},
		{
			Code: "LS0904", Severity: Warning, Title: "old logs are deleted",
			Explain: "Loki keeps everything for ever unless loki.limits_config.retention_period is set and the compactor deletes (retention_enabled with delete_request_store). The volume fills up, and Loki stops writing.",
			Fix:     "loki.limits_config.retention_period: 168h, loki.compactor: {retention_enabled: true, delete_request_store: filesystem}",
			Needs:   releases, Uses: []snapshot.Input{snapshot.ConfigMaps}, Applies: hasLokiConfig, Run: onConfigMaps(onAllValues(retention), configRetention),
		},
		{
			Code: "LS0905", Severity: Warning, Title: "logs outlive the pod",
			Explain: "With storage on the local filesystem and without a volume, every restart of the pod begins with an empty store.",
			Fix:     "singleBinary.persistence.enabled: true",
			Needs:   releases, Applies: hasLokiChart, Run: onAllValues(noPersistence),
		},
		{
			Code: "LS0906", Severity: Warning, Title: "volumes are not deleted together with the StatefulSet",
			Explain: "The loki chart from 4.4.1 up to 18.2 lets Kubernetes delete the claims when the StatefulSet is deleted or scaled down (persistentVolumeClaimRetentionPolicy): all logs are gone with a helm uninstall, or with a recreation during an upgrade.",
			Fix:     "singleBinary.persistence.enableStatefulSetAutoDeletePVC: false",
			Needs:   releases, Uses: []snapshot.Input{snapshot.Stacks}, Applies: func(s *snapshot.Snapshot) bool { return hasLokiChart(s) || len(running(s, snapshot.Loki)) > 0 }, Run: autoDelete,
		},
		{
			Code: "LS0907", Severity: Warning, Title: "the schema is the current one",
			Explain: "The last period of loki.schemaConfig says how new data is stored. Structured metadata and new versions of Loki need the tsdb store with schema v13; older stores are deprecated. A change needs a new period that begins in the future.",
			Fix:     "add a period: {from: \"<a coming day>\", store: tsdb, object_store: <as before>, schema: v13, index: {prefix: index_, period: 24h}}",
			Needs:   releases, Uses: []snapshot.Input{snapshot.ConfigMaps}, Applies: hasLokiConfig, Run: onConfigMaps(onAllValues(oldSchema), configSchema),
		},
	}, roomChecks()...)
}

// claimGrace is how long a claim may be pending before it is a finding.
const claimGrace = 2 * time.Minute

// stackClaims are the claims of namespaces with a log stack that one of its
// workloads uses, by name or by template.
func stackClaims(s *snapshot.Snapshot) []*corev1.PersistentVolumeClaim {
	var out []*corev1.PersistentVolumeClaim
	for _, pvc := range s.Claims() {
		if slices.ContainsFunc(s.Stacks(), func(c *snapshot.Component) bool { return uses(c, pvc) }) {
			out = append(out, pvc)
		}
	}
	return out
}

func uses(c *snapshot.Component, pvc *corev1.PersistentVolumeClaim) bool {
	if c.Namespace() != pvc.Namespace {
		return false
	}
	for _, v := range c.Template.Spec.Volumes {
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == pvc.Name {
			return true
		}
	}
	set, ok := c.Workload.(*appsv1.StatefulSet)
	return ok && slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(t corev1.PersistentVolumeClaim) bool {
		return strings.HasPrefix(pvc.Name, t.Name+"-"+set.Name+"-")
	})
}

func unboundClaims(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, pvc := range stackClaims(s) {
		if pvc.Status.Phase != corev1.ClaimPending || !pvc.CreationTimestamp.IsZero() && s.Taken.Sub(pvc.CreationTimestamp.Time) < claimGrace {
			continue
		}
		f := Finding{Status: Error, Ref: s.Ref(pvc), Detail: "it is pending", Fix: "kubectl describe pvc -n " + pvc.Namespace + " " + pvc.Name,
			Explains: []string{"LS0404@pod/" + pvc.Namespace + "/*", "LS0410@*/" + pvc.Namespace + "/*"}}
		var names []string
		hasDefault := false
		for _, sc := range s.StorageClasses() {
			names = append(names, sc.Name)
			hasDefault = hasDefault || sc.Annotations["storageclass.kubernetes.io/is-default-class"] == "true"
		}
		known := s.Missing(snapshot.StorageClasses) == nil
		switch class := pvc.Spec.StorageClassName; {
		case known && class != nil && *class != "" && !slices.Contains(names, *class):
			f.Detail = fmt.Sprintf("StorageClass %s does not exist (there are: %s)", *class, orElse(strings.Join(names, ", "), "none"))
			f.Fix = "name a StorageClass that exists in the values (persistence.storageClass), delete the claim and let it be made again"
		case known && class == nil && !hasDefault:
			f.Detail = "it names no StorageClass, and the cluster has no default one"
			f.Fix = "name one (persistence.storageClass), or make one the default: kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true"
		}
		out = append(out, f)
	}
	return out
}

// ownConfig: with a whole configuration of the user's own, or parts that could
// not be read, the values say nothing.
func ownConfig(r *snapshot.Release) bool {
	return !snapshot.IsEmpty(r.Value("loki", "config")) || !snapshot.IsEmpty(r.Value("loki", "structuredConfig")) || !snapshot.IsEmpty(r.Value("loki", "configObjectName")) || len(r.Incomplete) > 0
}

func retention(c chartCtx) []Finding {
	r := c.r
	if r.Chart != "loki" || ownConfig(r) {
		return nil
	}
	period := r.String("loki", "limits_config", "retention_period")
	enabled := r.String("loki", "compactor", "retention_enabled") == "true"
	f := Finding{Status: Warning, Ref: r.Ref("loki", "limits_config", "retention_period"), Fix: "loki.limits_config.retention_period: 168h and loki.compactor: {retention_enabled: true, delete_request_store: filesystem}"}
	switch {
	case period == "" || period == "0" || period == "0s":
		f.Detail = "loki.limits_config.retention_period is not set: logs are kept until the volume is full"
	case !enabled:
		f.Ref = r.Ref("loki", "compactor")
		f.Detail = "retention_period is " + period + " and loki.compactor.retention_enabled is not true: nothing is deleted"
	case r.String("loki", "compactor", "delete_request_store") == "" && data.Compare(c.version, "6.0.0") >= 0:
		f.Ref = r.Ref("loki", "compactor")
		f.Detail = "retention is enabled without loki.compactor.delete_request_store: Loki does not start"
	default:
		return nil
	}
	return []Finding{f}
}

func noPersistence(c chartCtx) []Finding {
	l := lokiValues{c}
	if c.r.Chart != "loki" || !l.filesystem() || c.r.String("singleBinary", "persistence", "enabled") != "false" {
		return nil
	}
	return []Finding{{Status: Warning, Ref: c.r.Ref("singleBinary", "persistence", "enabled"), Detail: "the store is on the filesystem and singleBinary.persistence.enabled is false: every restart begins empty", Fix: "singleBinary.persistence.enabled: true"}}
}

// The versions in which the chart's default deletes claims.
const autoDeleteFrom, autoDeleteUntil = "4.4.1", "18.3.0"

func autoDelete(s *snapshot.Snapshot) []Finding {
	var out []Finding
	fix := "singleBinary.persistence.enableStatefulSetAutoDeletePVC: false"
	for _, c := range running(s, snapshot.Loki) {
		set, ok := c.Workload.(*appsv1.StatefulSet)
		if !ok || set.Spec.PersistentVolumeClaimRetentionPolicy == nil || len(set.Spec.VolumeClaimTemplates) == 0 {
			continue
		}
		if p := set.Spec.PersistentVolumeClaimRetentionPolicy; p.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType || p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
			out = append(out, Finding{Status: Warning, Ref: s.Ref(set), Detail: fmt.Sprintf("its claims are deleted with it (whenDeleted %s, whenScaled %s)", p.WhenDeleted, p.WhenScaled), Fix: fix})
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, r := range s.Releases() {
		c := chartOf(s, r)
		if r.Chart != "loki" || !data.Covers(autoDeleteFrom, autoDeleteUntil, c.version) || !(lokiValues{c}).filesystem() || r.String("singleBinary", "persistence", "enabled") == "false" {
			continue
		}
		if r.Effective("true", "singleBinary", "persistence", "enableStatefulSetAutoDeletePVC") == "true" && (lokiValues{c}).replicas("singleBinary") > 0 {
			out = append(out, Finding{Status: Warning, Ref: r.Ref("singleBinary", "persistence"), Detail: "deleting or scaling down the StatefulSet deletes the volume with all logs (the default of the chart up to 18.2)", Fix: fix,
				Patch: "# values of " + r.Title() + "\n+singleBinary:\n+    persistence:\n+        enableStatefulSetAutoDeletePVC: false\n"})
		}
	}
	return out
}

func oldSchema(c chartCtx) []Finding {
	configs := c.r.Value("loki", "schemaConfig", "configs")
	if c.r.Chart != "loki" || configs == nil || len(configs.Content) == 0 {
		return nil
	}
	last := len(configs.Content) - 1
	get := func(key string) string {
		if n := snapshot.Lookup(configs.Content[last], key); n != nil {
			return n.Value
		}
		return ""
	}
	store, schema := get("store"), get("schema")
	if store == "" || schema == "" || store == "tsdb" && schema == "v13" {
		return nil
	}
	return []Finding{{Status: Warning, Ref: c.r.Ref("loki", "schemaConfig", "configs", fmt.Sprint(last)), Detail: fmt.Sprintf("the last period uses store %s with schema %s", store, schema),
		Fix: "add a period that begins in the future: {from: \"<day>\", store: tsdb, object_store: " + orElse(get("object_store"), "filesystem") + ", schema: v13, index: {prefix: index_, period: 24h}}"}}
}
