package main

import (
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// TestLayersFitTogether: what does not fit by itself may fit with what is laid
// over it, in whatever order; no message repeats a secret.
func TestLayersFitTogether(t *testing.T) {
	a := &app{flags: genericclioptions.NewConfigFlags(true)}
	for name, tt := range map[string]struct {
		set []string
		err string
	}{
		"the token first":   {[]string{"grafana.token=$__env{T}", "auth.secretName=a"}, ""},
		"the Secret first":  {[]string{"auth.secretName=a", "grafana.token=$__env{T}"}, ""},
		"mended":            {[]string{"storage.size=1", "storage.size=2Gi"}, ""},
		"not mended":        {[]string{"storage.size=1", "retention=3d"}, "--set storage.size=1: storage.size: 1 is too small"},
		"in the wrong form": {[]string{"storage.size=1", "nonsense=1"}, "--set nonsense=1: nonsense: unknown key"},
		"a secret":          {[]string{"auth.password=geheim"}, "--set auth.password=…: auth.password: unknown key; here it is auth.secretName"},
	} {
		t.Run(name, func(t *testing.T) {
			f := valueFlags{set: tt.set}
			_, err := f.layer(a, install.DefaultValues(), nil, func(string) bool { return false })
			switch {
			case tt.err == "" && err != nil:
				t.Error(err)
			case tt.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.err) || strings.Contains(err.Error(), "geheim")):
				t.Errorf("got %v, want %s", err, tt.err)
			}
		})
	}
}
