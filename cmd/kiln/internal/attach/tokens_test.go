package attach

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docker/cli/cli/config"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/request"
	"github.com/kilnbuild/kiln/solver/pb/auth"
	"github.com/kilnbuild/kiln/solver/progress"
)

// dockerConfig makes a configuration the user's for one test.
func dockerConfig(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	before := config.Dir()
	config.SetDir(dir)
	t.Cleanup(func() { config.SetDir(before) })
	return dir
}

// helper puts a credential helper on the path that knows one registry, and
// counts how often it is asked.
func helper(t *testing.T, name, user, secret string) (asked func() int) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	script := "#!/bin/sh\necho \"$1\" >> " + log + "\nread host\n" +
		`printf '{"ServerURL":"%s","Username":"` + user + `","Secret":"` + secret + `"}' "$host"` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() int {
		data, _ := os.ReadFile(log)
		return bytes.Count(data, []byte("get\n"))
	}
}

// shown collects what is told to the display.
type shown struct {
	mu    sync.Mutex
	names []string
}

func (s *shown) add(b *progress.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range b.Vertices {
		s.names = append(s.names, v.Name+v.Error)
	}
}

// Tokens come from the token service, over its TLS context, with what the
// helper knows; the helper is asked once and the display told once.
func TestFetchToken(t *testing.T) {
	service := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		if user != "ann" || pass != "sesame" || r.FormValue("scope") != "repository:a/b:pull" || r.FormValue("service") != "svc" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"token":"tok","expires_in":300}`)
	}))
	t.Cleanup(service.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: service.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	dockerConfig(t, `{"credHelpers":{"r.example":"vault"},"auths":{"static.example":{"registrytoken":"fixed"}}}`)
	asked := helper(t, "vault", "ann", "sesame")
	creds := NewCredentials(CredentialsConfig{Warnings: io.Discard, TLS: map[string]request.TLSContext{"r.example": {CAs: []string{ca}}}})
	var seen shown
	creds.Log(seen.add)
	c := auth.NewAuthClient(open(t, creds).Conn())
	req := &auth.FetchTokenRequest{Host: "r.example", Realm: service.URL, Service: "svc", Scopes: []string{"repository:a/b:pull"}}
	for range 2 {
		got, err := c.FetchToken(t.Context(), req)
		if err != nil || got.GetToken() != "tok" || got.GetExpiresIn() != 300 {
			t.Fatalf("token %v, error %v", got, err)
		}
	}
	if n := asked(); n != 1 {
		t.Errorf("the helper was asked %d times", n)
	}
	if len(seen.names) != 1 || seen.names[0] != "[auth] a/b:pull token for r.example" {
		t.Errorf("shown: %q", seen.names)
	}
	req.Host = "other.example"
	if _, err := c.FetchToken(t.Context(), req); err == nil || !strings.Contains(err.Error(), "failed to fetch anonymous token") {
		t.Errorf("without its context: %v", err)
	}
	req.Host, req.Realm = "r.example", "file:///etc/passwd"
	if _, err := c.FetchToken(t.Context(), req); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("no URL: %v", err)
	}
}

// An authority is the same for the same user, another for every registry and
// salt, and can be proved.
func TestAuthority(t *testing.T) {
	dir := dockerConfig(t, `{"auths":{"r.example":{"auth":"dTpw"},"s.example":{"auth":"dTpw"}}}`)
	client := func() auth.AuthClient {
		return auth.NewAuthClient(open(t, NewCredentials(CredentialsConfig{Warnings: io.Discard})).Conn())
	}
	key := func(c auth.AuthClient, host, salt string) string {
		t.Helper()
		resp, err := c.GetTokenAuthority(t.Context(), &auth.GetTokenAuthorityRequest{Host: host, Salt: []byte(salt)})
		if err != nil || len(resp.GetPublicKey()) != ed25519.PublicKeySize {
			t.Fatalf("key %v, error %v", resp, err)
		}
		return string(resp.GetPublicKey())
	}
	c := client()
	mine := key(c, "r.example", "salt")
	if mine != key(client(), "r.example", "salt") {
		t.Error("another process of the user has another key")
	}
	if mine == key(c, "s.example", "salt") || mine == key(c, "r.example", "other") || mine == key(c, "nobody.example", "salt") {
		t.Error("the key is the same for another registry, salt or nobody")
	}
	if key(c, "nobody.example", "salt") != key(c, "public.example", "salt") {
		t.Error("anonymous keys differ")
	}
	resp, err := c.VerifyTokenAuthority(t.Context(), &auth.VerifyTokenAuthorityRequest{Host: "r.example", Salt: []byte("salt"), Payload: []byte("p")})
	signed := resp.GetSigned()
	if err != nil || len(signed) != ed25519.SignatureSize+1 || !ed25519.Verify([]byte(mine), []byte("p"), signed[:ed25519.SignatureSize]) {
		t.Errorf("proof %v, error %v", signed, err)
	}
	// A damaged file is replaced.
	if err := os.WriteFile(filepath.Join(dir, seedFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if key(client(), "r.example", "salt") == mine {
		t.Error("the seed was not made again")
	}
	off := auth.NewAuthClient(open(t, NewCredentials(CredentialsConfig{Warnings: io.Discard, NoTokens: true})).Conn())
	if _, err := off.GetTokenAuthority(t.Context(), &auth.GetTokenAuthorityRequest{Host: "r.example"}); status.Code(err) != codes.Unavailable {
		t.Errorf("switched off: %v", err)
	}
}

// Builds go on without a place to keep seeds.
func TestSeedsNowhere(t *testing.T) {
	s := &seeds{dir: "/proc/nowhere"}
	a, err := s.get("h")
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.get("h")
	if err != nil || !bytes.Equal(a, b) || len(a) != seedSize {
		t.Errorf("seeds %x and %x, error %v", a, b, err)
	}
}
