package session_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/exporter"
	"github.com/kilnbuild/kiln/solver/session"
)

// chooser is a client that chooses exporters.
type chooser struct {
	exporter.UnimplementedExporterServer
	count    int
	verdict  error
	seen     *exporter.FindExportersRequest
	response map[string]string
}

func (c *chooser) FindExporters(_ context.Context, req *exporter.FindExportersRequest) (*exporter.FindExportersResponse, error) {
	c.seen = req
	out := &exporter.FindExportersResponse{}
	for range c.count {
		out.Exporters = append(out.Exporters, &exporter.ExporterRequest{Type: "oci"})
	}
	return out, c.verdict
}

func (c *chooser) FinalizeExport(_ context.Context, req *exporter.FinalizeExportRequest) (*exporter.FinalizeExportResponse, error) {
	c.response = req.GetExporterResponse()
	return &exporter.FinalizeExportResponse{}, c.verdict
}

// serve runs a session with the chooser until the test ends.
func (c *chooser) serve(t *testing.T, m *session.Manager, id string) {
	daemon, remote := net.Pipe()
	server := grpc.NewServer()
	exporter.RegisterExporterServer(server, c)
	l := &oneListener{conn: make(chan net.Conn, 1)}
	l.conn <- remote
	go func() { _ = server.Serve(l) }()
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Serve(t.Context(), daemon, session.Options{ID: id}) }()
	t.Cleanup(func() { server.Stop(); <-done })
}

func TestExporters(t *testing.T) {
	m := session.NewManager()
	c := &chooser{count: 2}
	c.serve(t, m, "chooser")
	list, err := m.FindExporters(t.Context(), "chooser", map[string][]byte{"k": []byte("v")}, []string{"r"})
	if err != nil || len(list) != 2 || string(c.seen.GetMetadata()["k"]) != "v" || c.seen.GetRefs()[0] != "r" {
		t.Errorf("exporters %v of %v, error %v", list, c.seen, err)
	}
	if err := m.FinalizeExport(t.Context(), "chooser", map[string]string{"a": "b"}); err != nil || c.response["a"] != "b" {
		t.Errorf("response %v, error %v", c.response, err)
	}
	c.verdict = status.Error(codes.Unknown, "no such luck")
	if err := m.FinalizeExport(t.Context(), "chooser", nil); err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("refusal: %v", err)
	}
	c.verdict = status.Error(codes.Unavailable, "closed on Sundays")
	if err := m.FinalizeExport(t.Context(), "chooser", nil); err != nil {
		t.Errorf("unavailable: %v", err)
	}
	c.verdict, c.count = nil, 1000
	if _, err := m.FindExporters(t.Context(), "chooser", nil, nil); err == nil || !strings.Contains(err.Error(), "at most 64") {
		t.Errorf("too many: %v", err)
	}
}

// A client without the service wants nothing more.
func TestNoExporters(t *testing.T) {
	m := session.NewManager()
	open(t, m, "plain", &client{})
	if list, err := m.FindExporters(t.Context(), "plain", nil, nil); len(list) != 0 || err != nil {
		t.Errorf("exporters %v, error %v", list, err)
	}
	if err := m.FinalizeExport(t.Context(), "plain", nil); err != nil {
		t.Error(err)
	}
}
