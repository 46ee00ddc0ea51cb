package interop_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// TestContainerdTellsOfBuilds shows that builds inside a containerd are in its
// metrics and in its traces, together with what their steps send.
func TestContainerdTellsOfBuilds(t *testing.T) {
	receiver := &spanReceiver{traces: map[string][]string{}, services: map[string]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, receiver)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

	metrics := freePort(t)
	c := startContainerd(t, "containerd-kiln", fmt.Sprintf("[metrics]\n  address = %q\n", metrics))
	w := (&containerdWorld{ctd: c, address: "unix://" + c.Socket, snapshotter: "kiln"}).configure(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN env && test -S /dev/otel-grpc.sock\n")
	said := w.build(t, dir, "--output=type=image,name=docker.io/library/traced:1", "--progress=plain").ok(t).stderr
	if !strings.Contains(said, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=unix:///dev/otel-grpc.sock") {
		t.Errorf("the step knows no socket for spans:\n%s", said)
	}

	resp, err := http.Get("http://" + metrics + "/v1/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || !strings.Contains(string(text), `buildkit_builds_total{error_code="",status="success"} 1`) {
		t.Errorf("the build is not in the metrics (%v)", err)
	}

	// The trace of the call goes on in the builder, whose spans come under containerd's name.
	for end := time.Now().Add(20 * time.Second); !receiver.has("containerd", "RUN env"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("services are %v, traces %q", receiver.services, receiver.traces)
		}
	}
}

// has reports whether a service sent spans, and one trace has a build with the
// step that is named.
func (r *spanReceiver) has(service, step string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.services[service] {
		return false
	}
	for _, names := range r.traces {
		all := strings.Join(names, "\n")
		if strings.Contains(all, "moby.buildkit.v1.Control/Solve") && strings.Contains(all, step) {
			return true
		}
	}
	return false
}

// freePort returns an address that nobody serves.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
