package interop_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/test/daemon"
)

// authority signs certificates for tests.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// newAuthority makes one whose certificate is ca.pem in a new folder.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.key, a.cert = a.issue(t, "ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "test authority"},
	})
	return a
}

// issue writes NAME.pem and NAME-key.pem, signed by the authority or, for its
// own, by themselves.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + "-key.pem": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		write(t, filepath.Join(a.dir, file), string(pem.EncodeToMemory(block)))
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// pair issues a certificate for 127.0.0.1 and returns the files.
func (a *authority) pair(t *testing.T, name string, use x509.ExtKeyUsage) (cert, key string) {
	t.Helper()
	a.issue(t, name, &x509.Certificate{
		ExtKeyUsage: []x509.ExtKeyUsage{use}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, Subject: pkix.Name{CommonName: name},
	})
	return filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+"-key.pem")
}

// freeAddress is an address that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestMutualTLS: over TCP the daemon takes only clients of its authority, and
// those that are turned away learn why. The unix socket stays as it is.
func TestMutualTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cert, key := ca.pair(t, "server", x509.ExtKeyUsageServerAuth)
	addr, authorityFile := freeAddress(t), filepath.Join(ca.dir, "ca.pem")
	sock := "unix://" + filepath.Join(t.TempDir(), "second.sock")
	d := fresh(t, daemon.Config{Args: []string{
		"--addr", sock, "--addr", "tcp://" + addr, "--tlscert", cert, "--tlskey", key, "--tlscacert", authorityFile,
	}})
	workers := func(args ...string) outcome {
		return run(t, "", nil, foreign(t, "buildctl"), append(append([]string{"--timeout=3", "--addr=tcp://" + addr}, args...), "debug", "workers")...)
	}
	mine, mineKey := ca.pair(t, "client", x509.ExtKeyUsageClientAuth)
	if out := workers("--tlscacert="+authorityFile, "--tlscert="+mine, "--tlskey="+mineKey).ok(t); !strings.Contains(out.stdout, "PLATFORMS") {
		t.Errorf("workers over TLS: %s", out.stdout)
	}
	theirs, theirsKey := other.pair(t, "client", x509.ExtKeyUsageClientAuth)
	workers("--tlscacert="+authorityFile, "--tlscert="+theirs, "--tlskey="+theirsKey).failed(t, "tls:")
	workers("--tlscacert="+authorityFile).failed(t, "certificate required")
	workers("--tlscacert="+filepath.Join(other.dir, "ca.pem"), "--tlscert="+mine, "--tlskey="+mineKey).failed(t, "unknown authority")
	run(t, "", nil, foreign(t, "buildctl"), "--addr", sock, "debug", "workers").ok(t)
	_ = d
}

// spanReceiver is a collector.
type spanReceiver struct {
	collector.UnimplementedTraceServiceServer
	mu sync.Mutex
	// traces has the names of spans by trace; services the senders.
	traces   map[string][]string
	services map[string]bool
}

// Export takes spans.
func (r *spanReceiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		for _, kv := range rs.GetResource().GetAttributes() {
			if kv.GetKey() == "service.name" {
				r.services[kv.GetValue().GetStringValue()] = true
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				r.traces[string(s.GetTraceId())] = append(r.traces[string(s.GetTraceId())], s.GetName())
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// TestOneTrace: the real client, the daemon and the steps are in one trace,
// which the collector gets, and which the history keeps.
func TestOneTrace(t *testing.T) {
	receiver := &spanReceiver{traces: map[string][]string{}, services: map[string]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, receiver)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	d := fresh(t, daemon.Config{Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + l.Addr().String()}})

	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+" AS run\n"+
		"RUN env | sort >/env && ls -l /dev/otel-grpc.sock\nFROM scratch\nCOPY --from=run / /\n")
	out, ref := t.TempDir(), filepath.Join(t.TempDir(), "ref")
	dockerfile(t, d, dir, "--output=type=local,dest="+out, "--ref-file="+ref).ok(t)
	env := read(t, filepath.Join(out, "env"))
	if !strings.Contains(env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=unix:///dev/otel-grpc.sock") || !strings.Contains(env, "TRACEPARENT=00-") {
		t.Errorf("the step's environment:\n%s", env)
	}
	if _, err := os.Lstat(filepath.Join(out, "dev", "otel-grpc.sock")); err == nil {
		t.Error("the socket left its mount point in the image")
	}

	var saved string
	for range 100 { // The trace is added a few seconds after the build.
		o := buildctl(t, d, "debug", "logs", "--trace", strings.TrimSpace(read(t, ref)))
		if saved = o.stdout; o.err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	dec, ids, names := json.NewDecoder(strings.NewReader(saved)), map[string]bool{}, ""
	for {
		var span struct {
			Name        string
			SpanContext struct{ TraceID string }
		}
		if err := dec.Decode(&span); err != nil {
			if err != io.EOF {
				t.Errorf("saved trace: %v in %.200q", err, saved)
			}
			break
		}
		ids[span.SpanContext.TraceID] = true
		names += span.Name + "\n"
	}
	if len(ids) != 1 || !strings.Contains(names, "env | sort") || !strings.Contains(names, "exporting to client directory") {
		t.Errorf("saved: %d traces with\n%s", len(ids), names)
	}
	if _, err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	for _, spans := range receiver.traces {
		all := strings.Join(spans, "\n")
		if strings.Contains(all, "env | sort") && strings.Contains(all, "moby.buildkit.v1.Control/Solve") && receiver.services["kilnd"] && len(receiver.services) > 1 {
			return
		}
	}
	t.Errorf("services %v, traces %v", receiver.services, receiver.traces)
}

// TestReload: a hang-up makes the daemon read its rules again; a file that is
// not right changes nothing.
func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kilnd.toml")
	write(t, file, "[[worker.oci.gcpolicy]]\nmaxUsedSpace = 1000\n")
	d := fresh(t, daemon.Config{Args: []string{"--config", file}})
	shows := func(want string) {
		t.Helper()
		for range 100 {
			if out := buildctl(t, d, "debug", "workers", "--verbose").ok(t); strings.Contains(out.stdout, want) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("the rules never show %q", want)
	}
	hangUp := func() {
		t.Helper()
		if err := syscall.Kill(d.PID(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	shows("1kB")
	write(t, file, "[[worker.oci.gcpolicy]]\nmaxUsedSpace = 2000\n")
	hangUp()
	shows("2kB")
	write(t, file, "[[worker.oci.gcpolicy]]\nmaxUsedSpace = \"much\"\n")
	hangUp()
	for range 100 {
		if strings.Contains(d.Said(), "the old one stays") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	shows("2kB")
}

// TestStop: an orderly stop does not wait for those who only watch, and ends
// builds.
func TestStop(t *testing.T) {
	d := fresh(t, daemon.Config{})
	watcher := exec.CommandContext(t.Context(), foreign(t, "buildctl"), "--addr", d.Address, "debug", "monitor")
	if err := watcher.Start(); err != nil {
		t.Fatal(err)
	}
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo is-running && sleep 1000\n")
	build := exec.CommandContext(t.Context(), foreign(t, "buildctl"), append([]string{"--addr", d.Address}, buildArgs(dir)...)...)
	said, err := build.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := build.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(said); lines.Scan() && !strings.Contains(lines.Text(), " is-running"); {
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	if code, err := d.Stop(); err != nil || code != 0 {
		t.Errorf("stopped with %d, %v", code, err)
	}
	if strings.Contains(d.Said(), "forc") {
		t.Errorf("the stop was not orderly:\n%s", d.Said())
	}
	if err := build.Wait(); err == nil {
		t.Error("the build did not fail")
	}
	_ = watcher.Wait()
}

// TestMetrics: the debug address tells of builds in Prometheus' format.
func TestMetrics(t *testing.T) {
	addr := freeAddress(t)
	d := fresh(t, daemon.Config{Args: []string{"--debugaddr", addr}})
	dir := folder(t, "Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
	dockerfile(t, d, dir).ok(t)
	dockerfile(t, d, dir, "--opt=target=none").failed(t, "none")
	for path, want := range map[string]string{
		"/metrics":      `buildkit_builds_total{error_code="",status="success"} 1`,
		"/debug/vars":   `"cmdline"`,
		"/debug/events": "<html>",
		"/debug/pprof/": "goroutine",
	} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, no %s in\n%s", path, err, want, text)
		}
		if path == "/metrics" && !strings.Contains(string(text), `status="failure"} 1`) {
			t.Errorf("no failure in\n%s", text)
		}
	}
}
