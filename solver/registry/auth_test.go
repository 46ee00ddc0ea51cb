package registry

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// guarded is a registry that wants tokens.
type guarded struct {
	*tokens
	front    *front
	sessions *session.Manager
	client   *Client
	ref      string
}

func newGuarded(t *testing.T, public bool) *guarded {
	s := fixtures.Registry(t)
	name := smallImage(t, s, "lib/small")
	g := &guarded{tokens: newTokens(t), sessions: session.NewManager()}
	g.front = newFront(t, s, nil, g.guard(public))
	g.client = newClient(t, Config{Sessions: g.sessions})
	g.ref = g.front.addr + "/" + name
	return g
}

func TestCredentials(t *testing.T) {
	for _, tc := range []struct {
		name         string
		user, secret string
		postOnly     bool
		public       bool
		deny         bool
		want         string
	}{
		{name: "password", user: "ann", secret: "ann-secret"},
		{name: "password by POST", user: "ann", secret: "ann-secret", postOnly: true},
		{name: "identity token", secret: "id-secret"},
		{name: "anonymous", public: true},
		{name: "anonymous at a private registry", want: pullDenied + ": server message: insufficient_scope: authorization failed"},
		{name: "wrong password", user: "ann", secret: "ann-sesame", want: "401"},
		{name: "another's repository", user: "ann", secret: "ann-secret", deny: true, want: pullDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newGuarded(t, tc.public)
			g.postOnly = tc.postOnly
			if tc.deny {
				g.deny = tc.user
			}
			who := &client{user: tc.user, secret: tc.secret}
			open(t, g.sessions, "one", who)
			_, err := pull(t.Context(), repository(t, g.client, g.ref, "one"))
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if g.count() != 1 {
					t.Errorf("%d tokens for one pull", g.count())
				}
				if len(who.asked) == 0 || who.asked[0] != g.front.addr {
					t.Errorf("client was asked for %q", who.asked)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "sesame") || strings.Contains(fmt.Sprintf("%+v %#v", err, err), "ann-sesame") {
				t.Errorf("error shows the password: %v", err)
			}
			if strings.Contains(tc.want, "denied") && !errdefs.IsPermissionDenied(err) {
				t.Errorf("kind of %v", err)
			}
		})
	}
}

func TestBasicAuth(t *testing.T) {
	s := fixtures.Registry(t)
	name := smallImage(t, s, "lib/small")
	f := newFront(t, s, nil, func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u == "ann" && p == "ann-secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	m := session.NewManager()
	open(t, m, "ann", &client{user: "ann", secret: "ann-secret"})
	open(t, m, "bob", &client{user: "bob", secret: "bob-secret"})
	open(t, m, "nobody", &client{})
	c := newClient(t, Config{Sessions: m})
	if _, err := pull(t.Context(), repository(t, c, f.addr+"/"+name, "ann")); err != nil {
		t.Error(err)
	}
	for _, who := range []string{"bob", "nobody"} {
		_, err := pull(t.Context(), repository(t, c, f.addr+"/"+name, who))
		if !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), pullDenied) || strings.Contains(err.Error(), "-secret") {
			t.Errorf("%s: %v", who, err)
		}
	}
}

// TestSharing pins who gets whose tokens.
func TestSharing(t *testing.T) {
	ann := &client{user: "ann", secret: "ann-secret"}
	annToo := &client{user: "ann", secret: "ann-secret"}
	bob := &client{user: "bob", secret: "bob-secret"}
	t.Run("credentials", func(t *testing.T) {
		g := newGuarded(t, false)
		for id, c := range map[string]*client{"ann": ann, "ann2": annToo, "bob": bob, "nobody": {}} {
			open(t, g.sessions, id, c)
		}
		for i, step := range []struct {
			id     string
			tokens int
			ok     bool
		}{{"ann", 1, true}, {"ann", 1, true}, {"ann2", 1, true}, {"bob", 2, true}, {"nobody", 3, false}} {
			_, err := pull(t.Context(), repository(t, g.client, g.ref, step.id))
			if (err == nil) != step.ok || g.count() != step.tokens {
				t.Errorf("step %d, %s: %v, %d tokens, want %d", i, step.id, err, g.count(), step.tokens)
			}
		}
		if _, err := pull(t.Context(), repository(t, g.client, g.ref)); err == nil {
			t.Error("a build without sessions used somebody's token")
		}
	})
	t.Run("authorities", func(t *testing.T) {
		g := newGuarded(t, false)
		g.valid["given"] = "ann"
		one := &client{seed: []byte("seed"), token: "given"}
		same := &client{seed: []byte("seed"), token: "given"}
		other := &client{seed: []byte("other"), token: "worthless"}
		public := ed25519.PublicKey(one.key(g.client.identities.salt)[32:])
		liar := &client{seed: []byte("other"), public: public, token: "worthless"}
		for id, c := range map[string]*client{"one": one, "same": same, "other": other, "liar": liar} {
			open(t, g.sessions, id, c)
		}
		for _, step := range []struct {
			id string
			c  *client
			// fetches of the client after the step.
			fetches int
			ok      bool
		}{{"one", one, 1, true}, {"same", same, 0, true}, {"other", other, 1, false}, {"liar", liar, 1, false}, {"one", one, 1, true}} {
			_, err := pull(t.Context(), repository(t, g.client, g.ref, step.id))
			if (err == nil) != step.ok || step.c.fetches() != step.fetches {
				t.Errorf("%s: %v, %d fetches, want %d", step.id, err, step.c.fetches(), step.fetches)
			}
		}
		if g.count() != 0 {
			t.Errorf("the daemon fetched %d tokens itself", g.count())
		}
	})
	t.Run("everybody's authority", func(t *testing.T) {
		g := newGuarded(t, false)
		g.valid["given"] = "ann"
		// A static token without a password: the key is that of nobody.
		rich, poor := &client{seed: []byte{}, token: "given"}, &client{seed: []byte{}, token: "worthless"}
		open(t, g.sessions, "rich", rich)
		open(t, g.sessions, "poor", poor)
		if _, err := pull(t.Context(), repository(t, g.client, g.ref, "rich")); err != nil {
			t.Error(err)
		}
		if _, err := pull(t.Context(), repository(t, g.client, g.ref, "poor")); err == nil || poor.fetches() == 0 {
			t.Errorf("poor got in: %v", err)
		}
	})
	t.Run("an id that comes again", func(t *testing.T) {
		g := newGuarded(t, false)
		g.valid["given"] = "ann"
		t.Run("first", func(t *testing.T) {
			open(t, g.sessions, "id", &client{seed: []byte{}, token: "given"})
			if _, err := pull(t.Context(), repository(t, g.client, g.ref, "id")); err != nil {
				t.Error(err)
			}
		})
		thief := &client{seed: []byte{}, token: "worthless"}
		open(t, g.sessions, "id", thief)
		if _, err := pull(t.Context(), repository(t, g.client, g.ref, "id")); err == nil || thief.fetches() == 0 {
			t.Errorf("the session with a used id got in: %v", err)
		}
	})
	t.Run("writing", func(t *testing.T) {
		g := newGuarded(t, false)
		open(t, g.sessions, "ann", ann)
		open(t, g.sessions, "ann2", annToo)
		store := blobs{}
		for i, id := range []string{"ann", "ann2"} {
			b := []byte(id)
			desc := blob(store, b)
			if err := repository(t, g.client, g.ref, id).Push(t.Context(), desc, store, nil); err != nil {
				t.Error(err)
			}
			if g.count() != i+1 {
				t.Errorf("%d tokens after %d sessions pushed", g.count(), i+1)
			}
		}
	})
}

// TestRevoked checks that a token the registry forgot is replaced.
func TestRevoked(t *testing.T) {
	g := newGuarded(t, true)
	now := time.Now()
	g.client.cfg.Now = func() time.Time { return now }
	g.client.tokens.now = g.client.cfg.Now
	if _, err := pull(t.Context(), repository(t, g.client, g.ref)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	g.mu.Lock()
	g.valid = map[string]string{}
	g.mu.Unlock()
	if _, err := pull(t.Context(), repository(t, g.client, g.ref)); err != nil || g.count() != 2 {
		t.Errorf("after the token was revoked: %v, %d tokens", err, g.count())
	}
	now = now.Add(time.Hour)
	if _, err := pull(t.Context(), repository(t, g.client, g.ref)); err != nil || g.count() != 3 {
		t.Errorf("after the token expired: %v, %d tokens", err, g.count())
	}
}

func TestSecretsStayHidden(t *testing.T) {
	s := fixtures.Registry(t)
	smallImage(t, s, "lib/small")
	f := newFront(t, s, nil, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Plain") == "" && strings.Contains(r.URL.Path, "/manifests/") {
			http.Redirect(w, r, "http://127.0.0.1:1/storage?X-Signature=sesame&x=y", http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	_, err := pull(t.Context(), repository(t, newClient(t, Config{}), f.addr+"/lib/small:latest"))
	if err == nil || strings.Contains(err.Error(), "sesame") || !strings.Contains(err.Error(), "127.0.0.1:1/storage") {
		t.Errorf("error %v", err)
	}
	text := fmt.Sprintf("%v %+v %#v", token{value: "sesame"}, token{value: "sesame"}, token{value: "sesame"})
	if strings.Contains(text, "sesame") {
		t.Error(text)
	}
	if got := redact(fmt.Errorf(`Get "https://ann:sesame@h/x?a=sesame": no`)).Error(); got != `Get "https://h/x": no` {
		t.Error(got)
	}
}

// TestPlainTokenService checks that a registry cannot have passwords sent in
// the clear.
func TestPlainTokenService(t *testing.T) {
	g := newGuarded(t, false)
	who := &client{user: "ann", secret: "ann-secret"}
	open(t, g.sessions, "ann", who)
	secure := newFront(t, fixtures.Registry(t), startTLS, g.guard(false))
	no := false
	g.client.cfg.Hosts = map[string]HostConfig{secure.addr: {PlainHTTP: &no, CAs: []string{writeCA(t, secure)}}}
	_, err := pull(t.Context(), repository(t, g.client, secure.addr+"/lib/small:1", "ann"))
	if err == nil || !strings.Contains(err.Error(), "not encrypted") || len(who.asked) > 0 {
		t.Errorf("error %v, client asked for %v", err, who.asked)
	}
}
