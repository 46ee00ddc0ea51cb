package registry

import (
	"archive/tar"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/auth"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// front is a server before a real registry: handle may answer a request
// itself, which it reports.
type front struct {
	*httptest.Server
	addr   string
	mu     sync.Mutex
	handle func(w http.ResponseWriter, r *http.Request) bool
}

func newFront(t testing.TB, s *fixtures.Server, start func(*httptest.Server), handle func(http.ResponseWriter, *http.Request) bool) *front {
	t.Helper()
	back, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(back); r.Out.Host = r.In.Host; r.SetXForwarded() },
		ErrorLog: nil,
	}
	f := &front{handle: handle}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		h := f.handle
		f.mu.Unlock()
		if h == nil || !h(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	if start == nil {
		start = (*httptest.Server).Start
	}
	start(f.Server)
	t.Cleanup(f.Close)
	f.addr = f.Listener.Addr().String()
	return f
}

// smallImage pushes an image of one file and returns its name and tag.
func smallImage(t testing.TB, s *fixtures.Server, name string) string {
	t.Helper()
	layer, err := fixtures.NewLayer(func(add func(tar.Header, []byte) error) error {
		return add(tar.Header{Name: "hello", Mode: 0o644}, []byte("hello "+name))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Push(t.Context(), name, "latest", fixtures.Image{Platform: fixtures.Native(), Layers: []fixtures.Layer{layer}}); err != nil {
		t.Fatal(err)
	}
	return name + ":latest"
}

func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	t.Cleanup(c.Close)
	return c
}

func repository(t testing.TB, c *Client, ref string, ids ...string) *Repository {
	t.Helper()
	r, err := c.Repository(ref, Options{Sessions: func() []string { return ids }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pull resolves a reference and reads the manifest.
func pull(ctx context.Context, r *Repository) ([]byte, error) {
	desc, err := r.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	rc, err := r.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// client is what a session of a user answers about credentials.
type client struct {
	auth.UnimplementedAuthServer
	// seed is the secret of clients that fetch tokens themselves; nil for
	// others.
	seed []byte
	// public is given instead of the own key, as a liar would.
	public []byte
	token  string
	user   string
	secret string

	mu      sync.Mutex
	fetched int
	asked   []string
}

func (c *client) key(salt []byte) ed25519.PrivateKey {
	mac := hmac.New(sha256.New, salt)
	mac.Write(c.seed)
	return ed25519.NewKeyFromSeed(mac.Sum(nil))
}

func (c *client) Credentials(_ context.Context, r *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, r.GetHost())
	return &auth.CredentialsResponse{Username: c.user, Secret: c.secret}, nil
}

func (c *client) GetTokenAuthority(_ context.Context, r *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	if c.seed == nil {
		return nil, status.Error(codes.Unavailable, "disabled")
	}
	if c.public != nil {
		return &auth.GetTokenAuthorityResponse{PublicKey: c.public}, nil
	}
	return &auth.GetTokenAuthorityResponse{PublicKey: c.key(r.GetSalt())[32:]}, nil
}

func (c *client) VerifyTokenAuthority(_ context.Context, r *auth.VerifyTokenAuthorityRequest) (*auth.VerifyTokenAuthorityResponse, error) {
	signed := ed25519.Sign(c.key(r.GetSalt()), r.GetPayload())
	return &auth.VerifyTokenAuthorityResponse{Signed: append(signed, r.GetPayload()...)}, nil
}

func (c *client) FetchToken(_ context.Context, _ *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fetched++
	return &auth.FetchTokenResponse{Token: c.token, ExpiresIn: 60}, nil
}

func (c *client) fetches() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fetched
}

// open opens a session that c answers; it ends with the test.
func open(t testing.TB, m *session.Manager, id string, c *client) {
	t.Helper()
	here, there := net.Pipe()
	srv := grpc.NewServer()
	auth.RegisterAuthServer(srv, c)
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	go srv.Serve(&oneListener{conn: there, done: make(chan struct{})})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Serve(ctx, here, session.Options{ID: id})
	}()
	t.Cleanup(func() { cancel(); <-ended; srv.Stop() })
	if _, err := m.Get(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// oneListener accepts one connection.
type oneListener struct {
	once sync.Once
	conn net.Conn
	done chan struct{}
}

func (l *oneListener) Accept() (net.Conn, error) {
	var c net.Conn
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneListener) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *oneListener) Addr() net.Addr { return l.conn.LocalAddr() }

// tokens is a token service and the guard of the registry behind it. The
// password of a user is his name with "-secret"; the user "id" has an identity
// token.
type tokens struct {
	*httptest.Server
	mu     sync.Mutex
	valid  map[string]string // token to user
	issued int
	// postOnly refuses GET, as some services do.
	postOnly bool
	// deny refuses all repositories of a user.
	deny string
}

func newTokens(t testing.TB) *tokens {
	s := &tokens{valid: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *tokens) serve(w http.ResponseWriter, r *http.Request) {
	user, secret, _ := r.BasicAuth()
	if r.Method == http.MethodPost {
		user, secret = r.FormValue("username"), r.FormValue("password")
		if r.FormValue("grant_type") == "refresh_token" {
			user, secret = "id", r.FormValue("refresh_token")
		}
	} else if s.postOnly {
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	if user != "" && secret != user+"-secret" {
		http.Error(w, "bad password "+secret, http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued++
	tok := fmt.Sprintf("token-%d-of-%s", s.issued, user)
	s.valid[tok] = user
	json.NewEncoder(w).Encode(map[string]any{"token": tok, "access_token": tok, "expires_in": 300})
}

func (s *tokens) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// guard lets requests of users pass; anonymous ones only if public is set.
func (s *tokens) guard(public bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		tok := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		user, ok := s.valid[tok]
		s.mu.Unlock()
		if ok && (public || user != "") && (s.deny == "" || user != s.deny) {
			r.Header.Del("Authorization")
			return false
		}
		repo := strings.TrimPrefix(r.URL.Path, "/v2/")
		for _, part := range []string{"/manifests/", "/blobs/"} {
			repo, _, _ = strings.Cut(repo, part)
		}
		ch := fmt.Sprintf(`Bearer realm=%q,service="test",scope="repository:%s:pull"`, s.URL+"/token", repo)
		if tok != "" {
			ch += `,error="insufficient_scope"`
		}
		w.Header().Set("WWW-Authenticate", ch)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

// blob puts bytes into a store.
func blob(store blobs, b []byte) ocispecs.Descriptor {
	d := digest.FromBytes(b)
	store[d] = b
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: d, Size: int64(len(b))}
}

func startTLS(s *httptest.Server) { s.StartTLS() }

// writeCA writes the certificate of a front to a file.
func writeCA(t testing.TB, f *front) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
