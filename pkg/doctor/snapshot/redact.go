package snapshot

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsyaml "sigs.k8s.io/yaml"
)

// RedactedFile is a file of a support bundle.
type RedactedFile struct {
	Name    string
	Content []byte
}

// secretWords are in the names of what is secret.
const secretWords = `(?:password|passwd|passphrase|secret|token|credential|bearer|api_?key|access_?key|private_?key|authorization|connection_?string|htpasswd|httpheadervalue)`

// What a support bundle never holds: the data of Secrets, Helm's releases
// (their values hold secrets), literal environment values, and whatever a
// configuration assigns to a key that sounds like a secret.
var (
	secretKey  = regexp.MustCompile(`(?i)(?:` + secretWords + `|basic_?auth)`)
	secretPair = regexp.MustCompile(`(?im)^(\s*(?:-\s*)?["']?[\w.\-/]*` + secretWords + `[\w.\-/]*["']?\s*[:= ]\s*)(\S.*)$`)
	// The same within a line: a text in quotes, closed or not; a plain one within
	// {a: b, c: d}; and a flag or parameter, --password=x.
	secretQuoted = regexp.MustCompile(`(?im)([\w.\-/]*` + secretWords + `[\w.\-/]*["']?\s*[:=]\s*)(?:"(?:[^"\\\n]|\\.)*(?:"|$)|'[^'\n]*(?:'|$)|` + "`[^`]*(?:`|$)" + `)`)
	secretFlow   = regexp.MustCompile(`(?i)([{,]\s*["']?[\w.\-/]*` + secretWords + `[\w.\-/]*["']?\s*:\s*)[^\s"'{\[,}][^,}\n]*`)
	secretFlag   = regexp.MustCompile(`(?i)([\w.\-]*(?:` + secretWords + `|basic[_-]?auth)[\w.\-]*=)[^\s"'&,;}]+`)
	// Its text stands in the lines below, which are indented deeper.
	secretBlock = regexp.MustCompile(`(?i)^(\s*)(?:-\s*)?["']?[\w.\-/]*` + secretWords + `[\w.\-/]*["']?\s*:\s*[|>][+\-0-9]*\s*$`)
	inURL       = regexp.MustCompile(`(://[^/\s:@]+:)[^/\s@]+@`)
	pem         = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----`)
)

const redacted = "REDACTED"

// RedactText takes what looks like a secret out of a configuration or a message.
func RedactText(s string) string {
	s = redactBlocks(pem.ReplaceAllString(s, redacted))
	s = inURL.ReplaceAllString(s, "${1}"+redacted+"@")
	for _, pattern := range []*regexp.Regexp{secretPair, secretQuoted, secretFlow, secretFlag} {
		s = pattern.ReplaceAllString(s, "${1}"+redacted)
	}
	return s
}

// redactBlocks takes out the lines of YAML's block scalars.
func redactBlocks(s string) string {
	if !strings.ContainsAny(s, "|>") {
		return s
	}
	var out strings.Builder
	within := -1 // the indentation of the key whose block this is
	for line := range strings.Lines(s) {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		if within >= 0 && (indent > within || strings.TrimSpace(line) == "") {
			continue
		}
		within = -1
		if m := secretBlock.FindStringSubmatch(line); m != nil {
			within = len(m[1])
		}
		out.WriteString(line)
	}
	return out.String()
}

// MayHoldSecret says whether a line has a word that secrets are called by: one
// that cannot be parsed can be redacted no better.
func MayHoldSecret(line string) bool { return secretKey.MatchString(line) }

// Redacted returns the objects of the snapshot, one file per kind, without secrets.
func (s *Snapshot) Redacted() ([]RedactedFile, error) {
	var out []RedactedFile
	for _, k := range kinds {
		objects := s.d.objects[k.in]
		if len(objects) == 0 {
			continue
		}
		var buf bytes.Buffer
		for _, o := range objects {
			text, err := redactObject(o)
			if err != nil {
				return nil, err
			}
			buf.WriteString("---\n# " + s.Ref(o).Object() + "\n")
			buf.Write(text)
		}
		out = append(out, RedactedFile{"objects/" + string(k.in) + ".yaml", buf.Bytes()})
	}
	return out, nil
}

func redactObject(o metav1.Object) ([]byte, error) {
	if sec, ok := o.(*corev1.Secret); ok {
		keys := map[string]string{}
		for k := range secretData(sec) {
			keys[k] = redacted
		}
		o = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: sec.Namespace, Name: sec.Name, Labels: sec.Labels}, Type: sec.Type, StringData: keys}
	}
	js, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal(js, &tree); err != nil {
		return nil, err
	}
	return sigsyaml.Marshal(redactTree("", tree))
}

// redactTree walks a decoded object. A {name, value} pair is an environment
// variable: its value goes when the name sounds like a secret.
func redactTree(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		name, _ := v["name"].(string)
		for k, child := range v {
			if _, isText := child.(string); isText && k == "value" && secretKey.MatchString(name) {
				v[k] = redacted
				continue
			}
			if k == "kubectl.kubernetes.io/last-applied-configuration" {
				delete(v, k)
				continue
			}
			v[k] = redactTree(k, child)
		}
		return v
	case []any:
		for i := range v {
			v[i] = redactTree(key, v[i])
		}
		return v
	case string:
		// Names of Secrets are no secrets.
		if secretKey.MatchString(key) && key != "secretName" && key != "secretKeyRef" && key != "serviceAccountName" && key != "automountServiceAccountToken" {
			return redacted
		}
		return RedactText(v)
	}
	return v
}
