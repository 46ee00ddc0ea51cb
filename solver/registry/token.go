package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	dockerauth "github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"

	"github.com/kilnbuild/kiln/solver/pb/auth"
	"github.com/kilnbuild/kiln/solver/session"
)

const (
	// clientID is how token services know who asks.
	clientID = "kiln"
	// defaultLife is how long a token counts as valid if nobody says.
	defaultLife = time.Minute
	// maxLife bounds how long a token is kept.
	maxLife = time.Hour
	// maxTokens bounds the tokens that are kept, maxTokenBody the answer of a
	// token service in bytes.
	maxTokens    = 4096
	maxTokenBody = 1 << 20
)

// tokenKey says what a token is good for and with what it was obtained.
type tokenKey struct {
	identity             string
	addr, realm, service string
	scopes               string
}

// token opens a repository. Its zero value is no token.
type token struct {
	value             string
	obtained, expires time.Time
}

// String hides the token.
func (token) String() string { return "token" }

// GoString hides the token.
func (token) GoString() string { return "token" }

// tokenCache keeps tokens until shortly before they expire.
type tokenCache struct {
	now func() time.Time

	mu    sync.Mutex
	slots map[tokenKey]*tokenSlot
}

// tokenSlot is one token; sem is held by whoever uses or gets it.
type tokenSlot struct {
	sem   chan struct{}
	token token
}

func newTokenCache(now func() time.Time) *tokenCache {
	return &tokenCache{now: now, slots: map[tokenKey]*tokenSlot{}}
}

// get returns the token of a key, obtained with fetch if there is none. Calls
// for one key wait for each other, so that a token is asked for once.
func (c *tokenCache) get(ctx context.Context, key tokenKey, fetch func(context.Context) (token, error)) (token, error) {
	c.mu.Lock()
	s := c.slots[key]
	if s == nil {
		c.makeRoom()
		s = &tokenSlot{sem: make(chan struct{}, 1)}
		c.slots[key] = s
	}
	c.mu.Unlock()
	select {
	case s.sem <- struct{}{}:
	case <-ctx.Done():
		return token{}, context.Cause(ctx)
	}
	defer func() { <-s.sem }()
	c.mu.Lock()
	t := s.token
	c.mu.Unlock()
	if t.value != "" && c.now().Before(t.expires) {
		return t, nil
	}
	t, err := fetch(ctx)
	if err != nil {
		return token{}, err
	}
	c.mu.Lock()
	s.token = t
	c.mu.Unlock()
	return t, nil
}

// makeRoom drops what has expired, and everything if that is not enough.
// Callers hold mu; slots in use are simply not found again.
func (c *tokenCache) makeRoom() {
	if len(c.slots) < maxTokens {
		return
	}
	for k, s := range c.slots {
		if !c.now().Before(s.token.expires) {
			delete(c.slots, k)
		}
	}
	if len(c.slots) >= maxTokens {
		c.slots = map[tokenKey]*tokenSlot{}
	}
}

// forget drops a token that a registry refused and returns its age; a very
// high one if it is not known.
func (c *tokenCache) forget(value string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.slots {
		if s.token.value == value {
			age := c.now().Sub(s.token.obtained)
			s.token = token{}
			return age
		}
	}
	return maxLife
}

// newToken returns a token that is dropped when nine tenths of its life are
// over. The issuer's clock is not trusted.
func newToken(value string, life time.Duration, now time.Time) token {
	if life <= 0 {
		life = defaultLife
	}
	life = min(life, maxLife)
	return token{value: value, obtained: now, expires: now.Add(life / 10 * 9)}
}

// token returns a token for scopes at an address, on behalf of the first
// session that can get one.
func (a *authorizer) token(ctx context.Context, addr string, ch challenge, scopes []string) (token, error) {
	if a.repo.opt.Login != nil {
		return a.loginToken(ctx, addr, ch, scopes)
	}
	var out token
	err := a.client.identities.each(ctx, a.repo.opt.Sessions(), addr, func(ctx context.Context, s *session.Session, id identity) error {
		name := id.name
		if s != nil && writes(scopes) {
			// A token to write is for the session that asked, whoever else
			// holds the same credentials.
			name = id.own + "/" + name
		}
		key := tokenKey{identity: name, addr: addr, realm: ch.realm, service: ch.service, scopes: strings.Join(scopes, " ")}
		var err error
		out, err = a.client.tokens.get(ctx, key, func(ctx context.Context) (token, error) {
			if id.remote {
				return a.remoteToken(ctx, s, addr, ch, scopes)
			}
			return a.ownToken(ctx, addr, ch, scopes, id.cred)
		})
		return err
	})
	return out, err
}

// writes reports whether scopes allow more than reading.
func writes(scopes []string) bool {
	for _, s := range scopes {
		if i := strings.LastIndexByte(s, ':'); i >= 0 && s[i+1:] != "pull" {
			return true
		}
	}
	return false
}

// remoteToken has the client fetch a token.
func (a *authorizer) remoteToken(ctx context.Context, s *session.Session, addr string, ch challenge, scopes []string) (token, error) {
	ctx, cancel := s.With(ctx)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, askTimeout)
	defer stop()
	resp, err := auth.NewAuthClient(s.Conn()).FetchToken(ctx, &auth.FetchTokenRequest{
		ClientID: clientID, Host: addr, Realm: ch.realm, Service: ch.service, Scopes: scopes,
	})
	if err != nil {
		return token{}, fmt.Errorf("have client fetch a token for %s: %w", addr, redact(err))
	}
	if resp.GetToken() == "" || len(resp.GetToken()) > maxTokenBody {
		return token{}, fmt.Errorf("client has no token for %s", addr)
	}
	return newToken(resp.GetToken(), time.Duration(min(resp.GetExpiresIn(), int64(maxLife/time.Second)))*time.Second, a.client.cfg.Now()), nil
}

// ownToken fetches a token with credentials, or anonymously without them.
func (a *authorizer) ownToken(ctx context.Context, addr string, ch challenge, scopes []string, cred session.Credentials) (token, error) {
	hc := *a.repo.httpClient(addr)
	hc.Transport = &boundedTransport{base: hc.Transport}
	opt := dockerauth.TokenOptions{Realm: ch.realm, Service: ch.service, Scopes: scopes, Username: cred.Username, Secret: cred.Secret}
	t, err := requestToken(ctx, &hc, opt, http.Header{"User-Agent": []string{a.client.cfg.UserAgent}})
	if err != nil {
		what := "an anonymous token"
		if cred.Secret != "" {
			what = "oauth token"
		}
		return token{}, fmt.Errorf("failed to fetch %s for %s: %w", what, addr, redact(err))
	}
	return newToken(t.value, t.life, a.client.cfg.Now()), nil
}

// answer is what a token service says.
type answer struct {
	value string
	life  time.Duration
}

// requestToken asks with GET, which all services know; those that want POST
// refuse it. An identity token is only taken by POST.
func requestToken(ctx context.Context, hc *http.Client, opt dockerauth.TokenOptions, h http.Header) (answer, error) {
	if opt.Secret == "" || opt.Username != "" {
		resp, err := dockerauth.FetchToken(ctx, hc, h, opt)
		if err == nil {
			return answer{resp.Token, time.Duration(resp.ExpiresInSeconds) * time.Second}, nil
		}
		var s remoteerrors.ErrUnexpectedStatus
		if opt.Secret == "" || !errors.As(err, &s) {
			return answer{}, err
		}
		switch s.StatusCode {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed:
		default:
			return answer{}, err
		}
	}
	resp, err := dockerauth.FetchTokenWithOAuth(ctx, hc, h, clientID, opt)
	if err != nil {
		return answer{}, err
	}
	return answer{resp.AccessToken, time.Duration(resp.ExpiresInSeconds) * time.Second}, nil
}

// boundedTransport cuts bodies off: answers of token services are decoded in
// memory.
type boundedTransport struct{ base http.RoundTripper }

// RoundTrip sends the request.
func (b *boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{Reader: io.LimitReader(resp.Body, maxTokenBody), Closer: resp.Body}
	return resp, nil
}

type boundedBody struct {
	io.Reader
	io.Closer
}
