package interop_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/dockerapi/hijack"
	"github.com/kilnbuild/kiln/solver/pb/filesync"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// oldClient has what clients of version 2 served before there was buildx: the
// folder itself, in a session of its own.
type oldClient struct {
	filesync.UnimplementedFileSyncServer
	dir string
}

func (c *oldClient) DiffCopy(stream filesync.FileSync_DiffCopyServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	req, err := files.ParseRequest(md)
	if err != nil {
		return err
	}
	tree, err := files.OpenDir(c.dir, req.Patterns)
	if err != nil {
		return err
	}
	defer tree.Close()
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	return files.Send(ctx, oldPackets{stream, cancel}, tree, nil)
}

type oldPackets struct {
	filesync.FileSync_DiffCopyServer
	cancel func()
}

func (p oldPackets) Recv() (*fsutil.Packet, error) { return p.FileSync_DiffCopyServer.Recv() }
func (p oldPackets) Abort()                        { p.cancel() }

// open opens the session.
func (c *oldClient) open(t *testing.T, e *engine, id string) {
	t.Helper()
	conn, err := net.Dial("unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /session HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"+
		"X-Docker-Expose-Session-Uuid: %s\r\nX-Docker-Expose-Session-Grpc-Method: %s\r\n\r\n", id, filesync.FileSync_DiffCopy_FullMethodName)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("session: %v, %v", resp, err)
	}
	server := grpc.NewServer()
	filesync.RegisterFileSyncServer(server, c)
	healthpb.RegisterHealthServer(server, health.NewServer())
	l := hijack.NewListener()
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); conn.Close() })
	// The daemon is the one that calls, and may have begun already.
	if err := l.Hand(t.Context(), ahead{conn, r}); err != nil {
		t.Fatal(err)
	}
}

// ahead is a connection of which something has been read.
type ahead struct {
	net.Conn
	r io.Reader
}

// Read returns what has been read first.
func (a ahead) Read(p []byte) (int, error) { return a.r.Read(p) }

// TestDockerSession builds a client's own folder through /session and /build.
func TestDockerSession(t *testing.T) {
	e := newEngine(t)
	c := &oldClient{dir: folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nCOPY f /\nRUN cat /f\n", "f", "from the session")}
	c.open(t, e, "s1")
	status, answer := e.post("/build?version=2&session=s1&remote=client-session&t=two:session&buildid=x", nil)
	if got := readStream(t, strings.NewReader(answer)); status != http.StatusOK || !strings.HasPrefix(got.id, "sha256:") {
		t.Errorf("%d: %s", status, answer)
	}
	// A posted context beside a session that has other folders.
	other := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nCOPY g /\n", "g", "posted")
	status, answer = e.post("/build?version=2&session=s1", packed(t, other))
	if got := readStream(t, strings.NewReader(answer)); status != http.StatusOK || got.id == "" || got.failure != "" {
		t.Errorf("%d: %s", status, answer)
	}
	if status, answer := e.post("/build?version=2&session=gone&remote=client-session", nil); !strings.Contains(answer, "no active session") {
		t.Errorf("without the session: %d %s", status, answer)
	}
}
