package script_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/llb/compose"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/pb/exporter"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/test/daemon"
)

// chooser is a client that looks at a result before it says what to make of it.
type chooser struct {
	exporter.UnimplementedExporterServer
	conn   *grpc.ClientConn
	build  string
	choice *exporter.ExporterRequest
	files  []string
	told   map[string]string
	refuse error
}

func (c *chooser) FindExporters(ctx context.Context, req *exporter.FindExportersRequest) (*exporter.FindExportersResponse, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "buildkit-controlapi-buildid", c.build)
	for _, ref := range req.GetRefs() {
		resp, err := gateway.NewLLBBridgeClient(c.conn).ReadDir(ctx, &gateway.ReadDirRequest{Ref: ref, DirPath: "/"})
		if err != nil {
			return nil, err
		}
		for _, e := range resp.GetEntries() {
			c.files = append(c.files, e.GetPath())
		}
	}
	return &exporter.FindExportersResponse{Exporters: []*exporter.ExporterRequest{c.choice}}, nil
}

func (c *chooser) FinalizeExport(_ context.Context, req *exporter.FinalizeExportRequest) (*exporter.FinalizeExportResponse, error) {
	c.told = req.GetExporterResponse()
	return &exporter.FinalizeExportResponse{}, c.refuse
}

// stream carries a session in Control's messages.
type stream struct{ control.Control_SessionClient }

func (s stream) SendBytes(b []byte) error { return s.Send(&control.BytesMessage{Data: b}) }

func (s stream) RecvBytes() ([]byte, error) {
	m, err := s.Recv()
	return m.GetData(), err
}

// single is a listener with one connection.
type single chan net.Conn

func (l single) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (single) Close() error   { return nil }
func (single) Addr() net.Addr { return &net.UnixAddr{} }

// solve builds a file with a client that chooses exporters.
func (c *chooser) solve(t *testing.T, id string) (*control.SolveResponse, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c.build = id
	server := grpc.NewServer()
	exporter.RegisterExporterServer(server, c)
	api := control.NewControlClient(c.conn)
	s, err := api.Session(metadata.AppendToOutgoingContext(ctx, "x-docker-expose-session-uuid", id))
	if err != nil {
		t.Fatal(err)
	}
	l := make(single, 1)
	l <- session.NewStreamConn(stream{s}, nil)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	defer close(l)
	// The server stops when its connection has ended.
	defer cancel()
	state := compose.Files(compose.Scratch(), compose.Info{}, compose.Mkfile{Path: "/one", Mode: 0o644}, compose.Mkfile{Path: "/two", Mode: 0o644})
	def, err := compose.Marshal(state, compose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return api.Solve(ctx, &control.SolveRequest{Ref: id, Session: id, Definition: def, EnableSessionExporter: true})
}

// The client sees the result, chooses an exporter, hears what it made, and may
// refuse it.
func TestChosenExporters(t *testing.T) {
	d := daemon.Run(t, daemon.Config{})
	conn, err := grpc.NewClient(d.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	image := &exporter.ExporterRequest{Type: "image", Attrs: map[string]string{"name": "chosen.example/late:1"}}
	c := &chooser{conn: conn, choice: image}
	resp, err := c.solve(t, "chosen")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.files, " "); got != "one two" {
		t.Errorf("the result has %q", got)
	}
	name := resp.GetExporterResponse()["image.name"]
	if name != "chosen.example/late:1" || c.told["containerimage.digest"] != resp.GetExporterResponse()["containerimage.digest"] {
		t.Errorf("client was told %v, the answer is %v", c.told, resp)
	}
	c = &chooser{conn: conn, choice: image, refuse: errors.New("not that one")}
	if _, err := c.solve(t, "refused"); err == nil || !strings.Contains(err.Error(), "not that one") {
		t.Errorf("refused: %v", err)
	}
	c = &chooser{conn: conn, choice: &exporter.ExporterRequest{Type: "nothing"}}
	if _, err := c.solve(t, "unknown"); err == nil || !strings.Contains(err.Error(), `exporter "nothing" could not be found`) {
		t.Errorf("unknown exporter: %v", err)
	}
}
