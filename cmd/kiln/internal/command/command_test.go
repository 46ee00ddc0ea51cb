package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/fakedaemon"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// cli is one command line and what came of it.
type cli struct {
	stdin       string
	env         map[string]string
	out, stderr bytes.Buffer
}

// run runs a command against a daemon; nil is none.
func (c *cli) run(t *testing.T, d *fakedaemon.Daemon, args ...string) error {
	t.Helper()
	c.out.Reset()
	c.stderr.Reset()
	streams := IO{In: strings.NewReader(c.stdin), Out: &c.out, Err: &c.stderr, LookupEnv: func(name string) (string, bool) {
		v, ok := c.env[name]
		return v, ok
	}}
	addr := "unix:///nowhere"
	if d != nil {
		addr = d.Addr
	}
	err := Run(t.Context(), "kiln", "kiln module v1 rev", streams, append([]string{"--addr", addr}, args...))
	if err != nil {
		Report(&c.stderr, err)
	}
	return err
}

// lastSolve returns the only Solve request.
func lastSolve(t *testing.T, d *fakedaemon.Daemon) *control.SolveRequest {
	t.Helper()
	for _, c := range d.Calls() {
		if req, ok := c.(*control.SolveRequest); ok {
			return req
		}
	}
	t.Fatal("no Solve request")
	return nil
}

// names is a Handler that wants nothing and notes what is offered.
type names struct{ list []string }

func (n *names) Entry(st *fsutil.Stat) (bool, error) {
	n.list = append(n.list, st.GetPath())
	return false, nil
}

func (*names) Data(int, *fsutil.Stat, []byte) error { return nil }

// offered returns the files that a client offers under a name.
func offered(ctx context.Context, s *session.Session, dir string) ([]string, error) {
	n := &names{}
	err := files.Pull(ctx, s, files.Request{Dir: dir}, n)
	return n.list, err
}

// tree makes a directory with empty files.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		path := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// same compares protocol messages and plain values.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, d)
	}
}

// outgoing adds a header to calls.
func outgoing(ctx context.Context, key, value string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, key, value)
}

// eof takes the end of a stream for success.
func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
