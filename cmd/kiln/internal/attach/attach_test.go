package attach

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	api "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/request"
	"github.com/kilnbuild/kiln/solver/pb/auth"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/pb/secrets"
	"github.com/kilnbuild/kiln/solver/pb/sshforward"
	"github.com/kilnbuild/kiln/solver/pb/upload"
	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// registers is any of the services.
type registers interface{ Register(*grpc.Server) }

// open serves services to a daemon's session.
func open(t *testing.T, services ...registers) *session.Session {
	t.Helper()
	near, far := net.Pipe()
	server := grpc.NewServer(grpc.UnaryInterceptor(rpcerr.UnaryServer), grpc.StreamInterceptor(rpcerr.StreamServer))
	var methods []string
	for _, s := range services {
		s.Register(server)
	}
	for name, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			methods = append(methods, "/"+name+"/"+m.Name)
		}
	}
	go func() { _ = server.Serve(&once{conn: near, done: t.Context().Done()}) }()
	t.Cleanup(server.Stop)
	m := session.NewManager()
	go func() { _ = m.Serve(t.Context(), far, session.Options{ID: "s", Methods: methods}) }()
	s, err := m.Get(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// once is a listener with one connection.
type once struct {
	conn net.Conn
	done <-chan struct{}
}

func (o *once) Accept() (net.Conn, error) {
	if c := o.conn; c != nil {
		o.conn = nil
		return c, nil
	}
	<-o.done
	return nil, net.ErrClosed
}

func (*once) Close() error   { return nil }
func (*once) Addr() net.Addr { return &net.UnixAddr{} }

func write(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		path := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// list returns all paths below a directory.
func list(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); rel != "." && !e.IsDir() {
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// push sends a directory as result 0.
func push(t *testing.T, s *session.Session, dir string, multi bool) error {
	t.Helper()
	tree, err := files.OpenDir(dir, files.Patterns{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	return files.Push(t.Context(), s, files.Target{Multi: multi}, tree, nil)
}

// Results are added to a directory, or take its place when that was asked
// for and the daemon knows how.
func TestFileOutputs(t *testing.T) {
	result, dest := t.TempDir(), t.TempDir()
	write(t, result, "new", "d/both")
	write(t, dest, "old", "d/both", "d/old")
	s := open(t, NewOutputs(map[int]Output{0: {Dir: dest}}))
	if err := push(t, s, result, false); err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, dest), "d/both d/old new old"; got != want {
		t.Errorf("after adding: %s, want %s", got, want)
	}
	if err := push(t, s, result, false); err != nil {
		t.Errorf("again: %v", err)
	}
	s = open(t, NewOutputs(map[int]Output{0: {Dir: dest, Delete: true}}))
	if err := push(t, s, result, false); err == nil {
		t.Error("a daemon that sends platforms one by one was let delete")
	}
	if err := push(t, s, result, true); err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, dest), "d/both new"; got != want {
		t.Errorf("after replacing: %s, want %s", got, want)
	}
}

type buffer struct {
	bytes.Buffer
	closed bool
}

func (b *buffer) Close() error { b.closed = true; return nil }

func TestStreamOutputs(t *testing.T) {
	b := &buffer{}
	s := open(t, NewOutputs(map[int]Output{3: {Open: func() (io.WriteCloser, error) { return b, nil }}}))
	w, err := files.PushStream(t.Context(), s, files.Target{ID: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("bytes")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil || b.String() != "bytes" || !b.closed {
		t.Errorf("%q, closed %v, error %v", b.String(), b.closed, err)
	}
	if err := push(t, s, t.TempDir(), false); err == nil {
		t.Error("a result that nobody asked for was taken")
	}
}

// owners is a Handler that notes owners.
type owners struct{ ids []uint32 }

func (o *owners) Entry(st *fsutil.Stat) (bool, error) {
	o.ids = append(o.ids, st.GetUid(), st.GetGid())
	return false, nil
}

func (*owners) Data(int, *fsutil.Stat, []byte) error { return nil }

func TestDirs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a")
	if err := os.Chown(filepath.Join(dir, "a"), 7, 8); err != nil {
		t.Fatal(err)
	}
	dirs, err := NewDirs(map[string]string{"context": dir})
	if err != nil {
		t.Fatal(err)
	}
	s, o := open(t, dirs), &owners{}
	if err := files.Pull(t.Context(), s, files.Request{Dir: "context"}, o); err != nil || !slices.Equal(o.ids, []uint32{0, 0}) {
		t.Errorf("owners %v, error %v", o.ids, err)
	}
	if err := files.Pull(t.Context(), s, files.Request{Dir: "/etc"}, o); err == nil || !strings.Contains(err.Error(), "no access allowed") {
		t.Errorf("another directory: %v", err)
	}
	for _, bad := range []string{dir + "/a", dir + "/none"} {
		if _, err := NewDirs(map[string]string{"x": bad}); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	one, same, other := SharedKey(map[string]string{"c": dir}), SharedKey(map[string]string{"c": dir + "/."}), SharedKey(map[string]string{"c": "/"})
	if one != same || one == other {
		t.Errorf("keys %s %s %s", one, same, other)
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f")
	t.Setenv("KILN_TEST_SECRET", "v")
	svc, err := NewSecrets([]request.Secret{{ID: "e", Env: "KILN_TEST_SECRET"}, {ID: "f", File: dir + "/f"}, {ID: "u", Env: "KILN_TEST_UNSET"}})
	if err != nil {
		t.Fatal(err)
	}
	c := secrets.NewSecretsClient(open(t, svc).Conn())
	for id, want := range map[string]string{"e": "v", "f": "f", "u": ""} {
		if got, err := c.GetSecret(t.Context(), &secrets.GetSecretRequest{ID: id}); err != nil || string(got.GetData()) != want {
			t.Errorf("%s = %q, %v", id, got.GetData(), err)
		}
	}
	if _, err := c.GetSecret(t.Context(), &secrets.GetSecretRequest{ID: "KILN_TEST_SECRET"}); !errdefs.IsNotFound(rpcerr.FromGRPC(err)) {
		t.Errorf("another secret: %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, session.MaxSecretSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSecrets([]request.Secret{{ID: "b", File: big}}); err == nil {
		t.Error("a large secret: no error")
	}
}

func TestCredentials(t *testing.T) {
	config := `{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"r.example":{"identitytoken":"tok"}}}`
	dockerConfig(t, config)
	c := auth.NewAuthClient(open(t, NewCredentials(CredentialsConfig{Warnings: io.Discard})).Conn())
	for host, want := range map[string][2]string{"registry-1.docker.io": {"u", "p"}, "r.example": {"", "tok"}, "other": {}} {
		got, err := c.Credentials(t.Context(), &auth.CredentialsRequest{Host: host})
		if err != nil || got.GetUsername() != want[0] || got.GetSecret() != want[1] {
			t.Errorf("%s: %q %q, %v", host, got.GetUsername(), got.GetSecret(), err)
		}
	}
}

// newKey writes a private key and returns its path.
func newKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// forward connects to an agent as a daemon does.
func forward(t *testing.T, s *session.Session, id string) agent.ExtendedAgent {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), headerAgent, id)
	stream, err := sshforward.NewSSHClient(s.Conn()).ForwardAgent(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return agent.NewClient(session.NewStreamConn(daemonStream{stream}, nil))
}

type daemonStream struct {
	stream sshforward.SSH_ForwardAgentClient
}

func (s daemonStream) SendBytes(b []byte) error {
	return s.stream.Send(&sshforward.BytesMessage{Data: b})
}

func (s daemonStream) RecvBytes() ([]byte, error) {
	m, err := s.stream.Recv()
	return m.GetData(), err
}

// Keys from files and of an agent can be used and not changed; a raw socket
// is passed through.
func TestAgents(t *testing.T) {
	keyring := agent.NewKeyring()
	if err := addKey(keyring, newKey(t)); err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keyring, conn) }()
		}
	}()
	t.Setenv("SSH_AUTH_SOCK", sock)
	svc, err := NewAgents([]request.Agent{{ID: "default"}, {ID: "key", Paths: []string{newKey(t)}}, {ID: "raw", Paths: []string{sock}, Raw: true}})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, svc)
	for _, id := range []string{"default", "key", "raw"} {
		if _, err := sshforward.NewSSHClient(s.Conn()).CheckAgent(t.Context(), &sshforward.CheckAgentRequest{ID: id}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if keys, err := forward(t, s, id).List(); err != nil || len(keys) != 1 {
			t.Errorf("%s: %d keys, %v", id, len(keys), err)
		}
	}
	if err := forward(t, s, "default").RemoveAll(); err == nil {
		t.Error("a build removed the user's keys")
	}
	_, err = sshforward.NewSSHClient(s.Conn()).CheckAgent(t.Context(), &sshforward.CheckAgentRequest{ID: "x"})
	if err == nil || !strings.Contains(err.Error(), "unset ssh forward key x") {
		t.Errorf("another agent: %v", err)
	}
	for _, bad := range []request.Agent{{Paths: []string{"/none"}}, {Paths: []string{sock, sock}}, {Paths: []string{newKey(t)}, Raw: true}, {Paths: []string{"/etc/passwd"}}} {
		if _, err := NewAgents([]request.Agent{bad}); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

// Stores are chosen by id; nothing is deleted from them.
func TestStores(t *testing.T) {
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, Stores{"export": store})
	in := func(id string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), headerStore, id)
	}
	c := api.NewContentClient(s.Conn())
	data := []byte("blob")
	w, err := c.Write(in("export"))
	if err != nil {
		t.Fatal(err)
	}
	dgst := digest.FromBytes(data)
	if err := w.Send(&api.WriteContentRequest{Action: api.WriteAction_COMMIT, Ref: "r", Total: 4, Expected: dgst.String(), Data: data}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	if info, err := c.Info(in("export"), &api.InfoRequest{Digest: dgst.String()}); err != nil || info.GetInfo().GetSize() != 4 {
		t.Errorf("info %v, %v", info, err)
	}
	if _, err := c.Delete(in("export"), &api.DeleteContentRequest{Digest: dgst.String()}); err == nil {
		t.Error("deleted")
	}
	for _, ctx := range []context.Context{in("other"), t.Context()} {
		if _, err := c.Info(ctx, &api.InfoRequest{Digest: dgst.String()}); err == nil {
			t.Error("another store: no error")
		}
	}
}

// An upload is fetched once, by its name.
func TestUpload(t *testing.T) {
	u := NewUpload("id", bytes.NewReader(make([]byte, uploadChunk+5)))
	c := upload.NewUploadClient(open(t, u).Conn())
	pull := func(path string) (n int, err error) {
		stream, err := c.Pull(metadata.AppendToOutgoingContext(t.Context(), "urlpath", path))
		for err == nil {
			var m *upload.BytesMessage
			if m, err = stream.Recv(); err == nil {
				n += len(m.GetData())
			}
		}
		return n, err
	}
	if _, err := pull("/other"); err == io.EOF { //nolint:errorlint // as gRPC returns it
		t.Error("another name: no error")
	}
	if n, err := pull("/id"); err != io.EOF || n != uploadChunk+5 { //nolint:errorlint // as gRPC returns it
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := pull("/id"); err == io.EOF { //nolint:errorlint // as gRPC returns it
		t.Error("fetched twice")
	}
}
