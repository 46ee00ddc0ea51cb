package registry

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/session"
)

// TestLogin signs in with what a request brought.
func TestLogin(t *testing.T) {
	g := newGuarded(t, false)
	name := g.front.addr
	as := func(user, secret string) Login {
		return Login{Credentials: session.Credentials{Username: user, Secret: secret}}
	}
	for login, good := range map[Login]bool{
		as("me", "me-secret"): true, as("me", "wrong"): false, as("", "id-secret"): true, {}: false, {Token: "made up"}: false,
	} {
		repo, err := g.client.Repository(g.ref, Options{Login: func(string) Login { return login }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pull(t.Context(), repo); (err == nil) != good {
			t.Errorf("%v pulls: %v", login.Username, err)
		}
		tags, err := repo.Tags(t.Context())
		if good != (err == nil) || good && len(tags) != 1 {
			t.Errorf("%v lists tags: %v, %v", login.Username, tags, err)
		}
		if err := g.client.SignIn(t.Context(), name, login); good != (err == nil) || !good && !errdefs.IsUnauthorized(err) {
			t.Errorf("%v signs in: %v", login.Username, err)
		}
	}
	// A token that was given is sent as it is.
	given := g.tokens.count()
	var valid string
	g.tokens.mu.Lock()
	for tok, user := range g.tokens.valid {
		if user == "me" {
			valid = tok
		}
	}
	g.tokens.mu.Unlock()
	repo, err := g.client.Repository(g.ref, Options{Login: func(string) Login { return Login{Token: valid} }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t.Context(), repo); err != nil || g.tokens.count() != given {
		t.Errorf("with a token: %v, %d more tokens", err, g.tokens.count()-given)
	}
	if err := g.client.SignIn(t.Context(), "127.0.0.1:1", Login{}); err == nil || errdefs.IsUnauthorized(err) {
		t.Errorf("nobody there: %v", err)
	}
}
