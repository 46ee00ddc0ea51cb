package interop_test

import (
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDockerTLS reaches the Docker API over TCP with everything that speaks to
// it: HTTP/1, upgrades to gRPC, and gRPC at once, told apart by what the
// clients offer.
func TestDockerTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cert, key := ca.pair(t, "server", x509.ExtKeyUsageServerAuth)
	addr, authorityFile := freeAddress(t), filepath.Join(ca.dir, "ca.pem")
	e := newEngine(t, "--docker-addr", "tcp://"+addr, "--tlscert", cert, "--tlskey", key, "--tlscacert", authorityFile)
	mine, mineKey := ca.pair(t, "client", x509.ExtKeyUsageClientAuth)
	certs := t.TempDir()
	for from, to := range map[string]string{authorityFile: "ca.pem", mine: "cert.pem", mineKey: "key.pem"} {
		if err := os.Symlink(from, filepath.Join(certs, to)); err != nil {
			t.Fatal(err)
		}
	}
	e.env = append(e.env, "DOCKER_HOST=tcp://"+addr, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH="+certs)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo secured\n")
	if out := e.docker(true, "build", "-t", "tls:classic", dir).ok(t).stdout; !strings.Contains(out, "\nsecured\n") {
		t.Errorf("docker says %s", out)
	}
	e.docker(false, "build", "-t", "tls:buildx", dir).ok(t)
	curl := func(args ...string) outcome {
		return run(t, "", nil, "curl", append(append([]string{"-sS"}, args...), "https://"+addr+"/_ping")...)
	}
	// curl offers both versions of HTTP.
	if out := curl("--cacert", authorityFile, "--cert", mine, "--key", mineKey).ok(t).stdout; out != "OK" {
		t.Errorf("curl got %q", out)
	}
	theirs, theirsKey := other.pair(t, "client", x509.ExtKeyUsageClientAuth)
	curl("--cacert", authorityFile, "--cert", theirs, "--key", theirsKey).failed(t)
	curl("--cacert", authorityFile).failed(t)
	ca.issue(t, "expired", &x509.Certificate{
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	curl("--cacert", authorityFile, "--cert", filepath.Join(ca.dir, "expired.pem"), "--key", filepath.Join(ca.dir, "expired-key.pem")).failed(t, "expired")
	// A client that trusts others does not speak to the daemon at all.
	curl("--cacert", filepath.Join(other.dir, "ca.pem"), "--cert", mine, "--key", mineKey).failed(t, "certificate")
	out := run(t, "", nil, foreign(t, "buildctl"), "--addr=tcp://"+addr, "--tlscacert="+authorityFile, "--tlscert="+mine, "--tlskey="+mineKey, "debug", "workers").ok(t)
	if !strings.Contains(out.stdout, "PLATFORMS") {
		t.Errorf("buildctl over the Docker API: %s", out.stdout)
	}
	run(t, "", nil, foreign(t, "buildctl"), "--addr=unix://"+e.socket, "debug", "workers").ok(t)
}

// TestDockerHalfRequests has clients that begin and do not go on.
func TestDockerHalfRequests(t *testing.T) {
	e := newEngine(t)
	half := func(text string) net.Conn {
		conn, err := net.Dial("unix", e.socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	silent, header, body := half(""), half("POST /build HTTP/1.1\r\nHost: x\r\nX-A: "), half("POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\nabc")
	// Others do not wait for them.
	if status, answer := e.post("/build", strings.NewReader("x")); status != 400 {
		t.Errorf("beside half requests: %d %s", status, answer)
	}
	for _, path := range []string{"/nothing", "/v1.999/build", "/v1.1/build"} {
		if status, answer := e.post(path, nil); status != 404 && status != 400 {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	for i, conn := range []net.Conn{silent, header, body} {
		if err := conn.Close(); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	big := fmt.Sprintf("/build?buildargs=%s", strings.Repeat("x", 4<<20))
	conn := half("")
	go func() { _, _ = io.WriteString(conn, "POST "+big+" HTTP/1.1\r\nHost: x\r\n\r\n") }()
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
		t.Errorf("headers without end: %q, %v", answer, err)
	}
}
