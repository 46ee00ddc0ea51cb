package frontend

import (
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestRequested(t *testing.T) {
	for name, test := range map[string]struct {
		opts map[string]string
		want map[string]map[string]string
	}{
		"nothing":       {map[string]string{"other": "x", "build-arg:A": "b"}, map[string]map[string]string{}},
		"empty":         {map[string]string{"attest:sbom": ""}, map[string]map[string]string{"sbom": {}}},
		"on":            {map[string]string{"build-arg:BUILDKIT_ATTEST_SBOM": "true"}, map[string]map[string]string{"sbom": {}}},
		"off":           {map[string]string{"attest:sbom": "false"}, map[string]map[string]string{}},
		"off elsewhere": {map[string]string{"attest:sbom": "", "build-arg:BUILDKIT_ATTEST_SBOM": "0"}, map[string]map[string]string{}},
		"pairs": {
			map[string]string{"attest:provenance": `mode=max,"a=b,c", k`},
			map[string]map[string]string{"provenance": {"mode": "max", "a": "b,c", "k": ""}},
		},
	} {
		got, err := Requested(test.opts)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{
		"attest:x":                    `unknown attestation type "x"`,
		"build-arg:BUILDKIT_ATTEST_Y": `unknown attestation type "y"`,
		"attest:sbom":                 "attest:sbom: ",
	} {
		_, err := Requested(map[string]string{name: `a"`})
		if !errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRequested feeds values of clients.
func FuzzRequested(f *testing.F) {
	f.Add("attest:sbom", `generator=x,"a=b,c"`)
	f.Fuzz(func(t *testing.T, name, value string) {
		got, err := Requested(map[string]string{name: value})
		if err == nil && len(got) > 1 {
			t.Errorf("%q asks for %v", name, got)
		}
	})
}
