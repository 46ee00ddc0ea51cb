package interop_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestSourcePolicy sends policies with the real buildctl: what they deny is
// refused in the words it shows, what they replace is built from.
func TestSourcePolicy(t *testing.T) {
	d := watch(t)
	dir := t.TempDir()
	busybox := base(t, "busybox")
	name, _, _ := strings.Cut(busybox[strings.LastIndexByte(busybox, '/')+1:], ":")
	policy := func(name, text string) string {
		path := filepath.Join(dir, name)
		write(t, path, text)
		return path
	}
	write(t, filepath.Join(dir, "Dockerfile"), "FROM gone.example/base:1\nRUN echo replaced > /proof\n")
	convert := policy("convert.json", fmt.Sprintf(`{"rules":[{"action":"CONVERT","selector":{"identifier":"docker-image://gone.example/*"},
		"updates":{"identifier":"docker-image://%s"}}]}`, busybox))
	out := t.TempDir()
	dockerfile(t, d, dir, "--source-policy-file="+convert, "--output=type=local,dest="+out).ok(t)
	if got := read(t, filepath.Join(out, "proof")); got != "replaced\n" {
		t.Errorf("the step left %q", got)
	}
	deny := policy("deny.json", fmt.Sprintf(`{"rules":[
		{"action":"CONVERT","selector":{"identifier":"docker-image://gone.example/*"},"updates":{"identifier":"docker-image://%s"}},
		{"action":"DENY","selector":{"identifier":"docker-image://.*/%s:.*","match_type":"REGEX"}}]}`, busybox, name))
	dockerfile(t, d, dir, "--source-policy-file="+deny).failed(t, fmt.Sprintf("source \"docker-image://%s\" denied by policy", busybox))
}
