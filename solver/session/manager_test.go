package session_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/secrets"
	"github.com/kilnbuild/kiln/solver/session"
)

// client is the serving side of a session.
type client struct {
	secrets.UnimplementedSecretsServer
	values map[string]string
}

func (c *client) GetSecret(_ context.Context, req *secrets.GetSecretRequest) (*secrets.GetSecretResponse, error) {
	v, ok := c.values[req.GetID()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such secret")
	}
	return &secrets.GetSecretResponse{Data: []byte(v)}, nil
}

// open runs a session until the test ends or stop is called.
func open(t *testing.T, m *session.Manager, id string, c *client) (stop func()) {
	t.Helper()
	daemon, remote := net.Pipe()
	server := grpc.NewServer()
	secrets.RegisterSecretsServer(server, c)
	l := &oneListener{conn: make(chan net.Conn, 1)}
	l.conn <- remote
	go func() { _ = server.Serve(l) }()
	done := make(chan error, 1)
	go func() {
		done <- m.Serve(t.Context(), daemon, session.Options{ID: id, Methods: []string{"/moby.buildkit.secrets.v1.Secrets/GetSecret"}})
	}()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		server.Stop()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("the session does not end with its client")
		}
	}
	t.Cleanup(stop)
	return stop
}

type oneListener struct{ conn chan net.Conn }

func (l *oneListener) Accept() (net.Conn, error) {
	c, ok := <-l.conn
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *oneListener) Close() error {
	defer func() { _ = recover() }()
	close(l.conn)
	return nil
}
func (l *oneListener) Addr() net.Addr { return &net.UnixAddr{Name: "test"} }

func TestSecretsAreAskedInOrder(t *testing.T) {
	m := session.NewManager()
	open(t, m, "one", &client{values: map[string]string{"a": "1"}})
	open(t, m, "two", &client{values: map[string]string{"a": "2", "b": "3"}})
	ids := []string{"prefix:one", "two"}
	for id, want := range map[string]string{"a": "1", "b": "3"} {
		got, err := m.Secret(t.Context(), ids, id)
		if err != nil || string(got) != want {
			t.Errorf("secret %s is %q (%v), want %q", id, got, err, want)
		}
	}
	if _, err := m.Secret(t.Context(), ids, "c"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("a missing secret gives %v", err)
	}
	if _, err := m.Secret(t.Context(), nil, "a"); !errors.Is(err, session.ErrNone) {
		t.Errorf("no session gives %v", err)
	}
}

// TestLostSessionIsNamed lets a client go away in the middle of a call: another
// one answers, and if there is none the error says what happened.
func TestLostSessionIsNamed(t *testing.T) {
	m := session.NewManager()
	stop := open(t, m, "gone", &client{})
	open(t, m, "other", &client{values: map[string]string{"a": "1"}})
	ask := func(ids ...string) error {
		return m.Any(t.Context(), ids, func(ctx context.Context, s *session.Session) error {
			if s.ID() == "other" {
				return nil
			}
			ctx, cancel := s.With(ctx)
			defer cancel()
			stop()
			<-ctx.Done()
			return context.Cause(ctx)
		})
	}
	if err := ask("gone", "other"); err != nil {
		t.Errorf("the other session is not asked: %v", err)
	}
	stop = open(t, m, "gone", &client{})
	if err := ask("gone"); err == nil || !strings.Contains(err.Error(), "lost session gone") {
		t.Errorf("error %v does not say that the session was lost", err)
	}
}

func TestGetWaitsForASession(t *testing.T) {
	m := session.NewManager()
	got := make(chan *session.Session, 1)
	go func() {
		s, err := m.Get(t.Context(), "late")
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	open(t, m, "late", &client{})
	select {
	case s := <-got:
		if s.ID() != "late" || !s.Supports("/moby.buildkit.secrets.v1.secrets/getsecret") || s.Supports("/x/y") {
			t.Errorf("session %q does not say what it supports", s.ID())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the session was not found")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.Get(ctx, "never"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a session that never comes gives %v", err)
	}
}

func TestLostClientEndsItsCalls(t *testing.T) {
	m := session.NewManager()
	stop := open(t, m, "lost", &client{})
	s, err := m.Get(t.Context(), "lost")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := s.With(t.Context())
	defer cancel()
	stop()
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("a call goes on without its client")
	}
	if n := m.Len(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestServeRefuses(t *testing.T) {
	m := session.NewManager()
	open(t, m, "taken", &client{})
	if _, err := m.Get(t.Context(), "taken"); err != nil {
		t.Fatal(err)
	}
	for id, kind := range map[string]error{"": errdefs.ErrInvalidArgument, "taken": errdefs.ErrAlreadyExists} {
		a, b := net.Pipe()
		defer b.Close()
		if err := m.Serve(t.Context(), a, session.Options{ID: id}); !errors.Is(err, kind) {
			t.Errorf("id %q gives %v, want %v", id, err, kind)
		}
	}
}

func TestClientWithoutCredentialsIsAnonymous(t *testing.T) {
	m := session.NewManager()
	open(t, m, "plain", &client{})
	got, err := m.Credentials(t.Context(), []string{"plain"}, "registry.example")
	if err != nil || got != (session.Credentials{}) {
		t.Errorf("credentials %v, error %v", got, err)
	}
	if s := (session.Credentials{Username: "u", Secret: "hidden"}).String(); s != "credentials of u" {
		t.Errorf("printing credentials shows %q", s)
	}
}
