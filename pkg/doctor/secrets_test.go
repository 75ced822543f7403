package doctor

import (
	"strings"
	"testing"
)

// TestMendLineHidesSecrets: a line that cannot be parsed is shown unless it may
// hold a secret, which no pattern would find for certain.
func TestMendLineHidesSecrets(t *testing.T) {
	for line, want := range map[string]string{
		`forward_to = [loki.write.d.receiver`:             `mend this line: forward_to = [loki.write.d.receiver`,
		`basic_auth { username = "u" password = "geheim`:  `mend this line (not shown: it may hold a secret)`,
		`bearer_token "geheim"`:                           `mend this line (not shown: it may hold a secret)`,
		`url = "http://u:geheim@loki:3100/loki/api/v1/pu`: `mend this line: url = "http://u:REDACTED@loki:3100/loki/api/v1/pu`,
		``: `close what is open before it`,
	} {
		if got := mendLine("a\n  "+line+"\nb", 2); got != want || strings.Contains(got, "geheim") {
			t.Errorf("%s: %s", line, got)
		}
	}
}
