package registry

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"github.com/containerd/errdefs"
)

// freshFor is how long a token that a registry refuses counts as just
// obtained: getting another would not help.
const freshFor = 10 * time.Second

// authorizer authorizes the requests of one repository: containerd's client
// hands it every request before it is sent and every 401 after.
type authorizer struct {
	client *Client
	repo   *Repository

	mu sync.Mutex
	// scopes demanded beyond those containerd's client asks for, by address.
	scopes map[string][]string
	// basic has headers by address, for as long as the repository lives.
	basic map[string]string
}

var _ docker.Authorizer = (*authorizer)(nil)

func newAuthorizer(c *Client, r *Repository) *authorizer {
	return &authorizer{client: c, repo: r, scopes: map[string][]string{}, basic: map[string]string{}}
}

// Authorize adds what the address asked for earlier, if it did.
func (a *authorizer) Authorize(ctx context.Context, req *http.Request) error {
	addr := req.URL.Host
	if t := a.login(addr).Token; t != "" {
		req.Header.Set("Authorization", "Bearer "+t)
		return nil
	}
	a.mu.Lock()
	basic, scopes := a.basic[addr], a.scopes[addr]
	a.mu.Unlock()
	if basic != "" {
		req.Header.Set("Authorization", basic)
		return nil
	}
	ch, ok := a.client.challenges.get(addr)
	if !ok {
		return nil
	}
	t, err := a.token(ctx, addr, ch, docker.GetTokenScopes(ctx, scopes))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+t.value)
	return nil
}

// AddResponses reads the challenge in the last response. nil means that
// sending the request again may succeed.
func (a *authorizer) AddResponses(ctx context.Context, responses []*http.Response) error {
	last := responses[len(responses)-1]
	for _, c := range auth.ParseAuthHeader(last.Header) {
		switch c.Scheme {
		case auth.BearerAuth:
			return a.bearer(ctx, last, c)
		case auth.BasicAuth:
			return a.basicAuth(ctx, last.Request)
		}
	}
	return fmt.Errorf("registry %s asks for an unknown kind of authorization: %w", last.Request.URL.Host, errdefs.ErrNotImplemented)
}

// bearer remembers a challenge. If the request carried a token, that token is
// forgotten; if it was a new one, the registry means it.
func (a *authorizer) bearer(ctx context.Context, last *http.Response, c auth.Challenge) error {
	addr := last.Request.URL.Host
	if sent, ok := strings.CutPrefix(last.Request.Header.Get("Authorization"), "Bearer "); ok {
		if age := a.client.tokens.forget(sent); age < freshFor && !widens(a.sentScopes(ctx, addr), c.Parameters["scope"]) {
			return refusal(c.Parameters["error"])
		}
	}
	ch, err := newChallenge(last.Request.URL, c, a.repo.allowsPlainRealm(addr))
	if err != nil {
		return err
	}
	a.client.challenges.put(addr, ch)
	if scope := c.Parameters["scope"]; scope != "" {
		a.mu.Lock()
		// The registry's word replaces an earlier one; containerd's client adds
		// what it needs by itself.
		a.scopes[addr] = strings.Fields(scope)
		a.mu.Unlock()
	}
	return nil
}

// sentScopes are the scopes of the token of the last request.
func (a *authorizer) sentScopes(ctx context.Context, addr string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return docker.GetTokenScopes(ctx, a.scopes[addr])
}

// widens reports whether a challenge asks for scopes that were not demanded
// before.
func widens(had []string, scope string) bool {
	for _, s := range strings.Fields(scope) {
		if !slices.Contains(had, s) {
			return true
		}
	}
	return false
}

// refusal is the error of a registry that will not have a fresh token.
func refusal(message string) error {
	if message == "" {
		return docker.ErrInvalidAuthorization
	}
	if len(message) > 64 {
		message = message[:64]
	}
	return fmt.Errorf("server message: %s: %w", message, docker.ErrInvalidAuthorization)
}

// basicAuth gets name and password for an address.
func (a *authorizer) basicAuth(ctx context.Context, req *http.Request) error {
	addr := req.URL.Host
	if req.Header.Get("Authorization") != "" {
		return fmt.Errorf("%w: the registry does not accept the credentials", docker.ErrInvalidAuthorization)
	}
	cred := a.login(addr).Credentials
	if a.repo.opt.Login == nil {
		var err error
		if cred, err = a.client.identities.credentials(ctx, a.repo.opt.Sessions(), addr); err != nil {
			return err
		}
	}
	if cred.Username == "" || cred.Secret == "" {
		return fmt.Errorf("%w: no basic auth credentials", docker.ErrInvalidAuthorization)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.basic[addr] = "Basic " + base64.StdEncoding.EncodeToString([]byte(cred.Username+":"+cred.Secret))
	return nil
}

// allowsPlainRealm reports whether the token service of an address may be
// asked without encryption.
func (r *Repository) allowsPlainRealm(addr string) bool {
	for _, h := range r.hosts {
		if h.addr == addr {
			return h.insecure || h.scheme == "http"
		}
	}
	return false
}

// httpClient returns the client for the token service of an address, which
// shares its certificates.
func (r *Repository) httpClient(addr string) *http.Client {
	for _, h := range r.hosts {
		if h.addr == addr {
			return h.client
		}
	}
	return r.hosts[len(r.hosts)-1].client
}

// challenge is what a registry demands: a token of a service. It holds no
// secrets, so that all repositories share it.
type challenge struct {
	realm, service string
}

// newChallenge checks a challenge. A registry reached over https must not have
// passwords sent in the clear.
func newChallenge(asked *url.URL, c auth.Challenge, plainRealm bool) (challenge, error) {
	realm, err := url.Parse(c.Parameters["realm"])
	if err != nil || realm.Host == "" || (realm.Scheme != "https" && realm.Scheme != "http") {
		return challenge{}, fmt.Errorf("registry %s names no usable token service: %w", asked.Host, errdefs.ErrFailedPrecondition)
	}
	if realm.Scheme == "http" && !plainRealm {
		return challenge{}, fmt.Errorf("registry %s names the token service %s, which is not encrypted: %w",
			asked.Host, realm.Host, errdefs.ErrFailedPrecondition)
	}
	return challenge{realm: realm.String(), service: c.Parameters["service"]}, nil
}

// maxChallenges bounds what is remembered of hosts, whose names clients choose.
const maxChallenges = 1024

// challenges has the last challenge of each address.
type challenges struct {
	mu     sync.Mutex
	byAddr map[string]challenge
}

func (c *challenges) get(addr string) (challenge, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.byAddr[addr]
	return ch, ok
}

func (c *challenges) put(addr string, ch challenge) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byAddr == nil || len(c.byAddr) >= maxChallenges {
		c.byAddr = map[string]challenge{}
	}
	c.byAddr[addr] = ch
}
