package kubernetes_test

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// metricNames collects the names of metrics from where kilnd registers them,
// and those of the process that come by themselves.
func metricNames(t *testing.T) []string {
	t.Helper()
	tree, err := daemon.Tree()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"go_goroutines", "process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"}
	literal := regexp.MustCompile(`"((?:kiln|buildkit)_[a-z_]+)"`)
	for _, dir := range []string{"plugin", "cmd/kilnd"} {
		err := filepath.WalkDir(filepath.Join(tree, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range literal.FindAllSubmatch(text, -1) {
				names = append(names, string(m[1]))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// verify checks a secret's certificate as a client does that reaches host.
func verify(t *testing.T, data map[string][]byte, host string) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data["ca.crt"]) {
		t.Fatal("no authority")
	}
	block, _ := pem.Decode(data["tls.crt"])
	if block == nil {
		t.Fatal("no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
		t.Error(err)
	}
}
