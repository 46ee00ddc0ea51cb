package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/session"
)

// Login is what a request brought to sign in with. Its zero value is nobody.
type Login struct {
	session.Credentials
	// Token, if set, is sent as it is instead of asking for one.
	Token string
}

// login returns what the request brought for an address; nothing if sessions
// are asked.
func (a *authorizer) login(addr string) Login {
	if a.repo.opt.Login == nil {
		return Login{}
	}
	return a.repo.opt.Login(addr)
}

// loginToken returns a token for scopes, obtained with what the request
// brought. Whoever brings the same credentials gets the same token.
func (a *authorizer) loginToken(ctx context.Context, addr string, ch challenge, scopes []string) (token, error) {
	id := anonymous
	if cred := a.login(addr).Credentials; cred != (session.Credentials{}) {
		id = identity{name: a.client.identities.credentialName(cred), cred: cred}
	}
	key := tokenKey{identity: id.name, addr: addr, realm: ch.realm, service: ch.service, scopes: strings.Join(scopes, " ")}
	return a.client.tokens.get(ctx, key, func(ctx context.Context) (token, error) {
		return a.ownToken(ctx, addr, ch, scopes, id.cred)
	})
}

// SignIn finds out whether a registry (host[:port]) accepts credentials.
// Refused ones are errdefs Unauthenticated.
func (c *Client) SignIn(ctx context.Context, host string, login Login) error {
	repo, err := c.Repository(host+"/library/any:latest", Options{Login: func(string) Login { return login }})
	if err != nil {
		return err
	}
	// Mirrors are somebody else.
	repo = repo.Origin()
	ctx = quiet(withPatience(ctx))
	for try := 0; ; try++ {
		resp, err := repo.get(ctx, "/", "")
		if err != nil {
			return repo.signInError(ctx, err)
		}
		drain(resp)
		switch {
		case resp.StatusCode == http.StatusOK:
			return nil
		case resp.StatusCode == http.StatusUnauthorized && try == 0:
			if err := repo.auth.AddResponses(ctx, []*http.Response{resp}); err != nil {
				return repo.signInError(ctx, err)
			}
		case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
			return fmt.Errorf("login attempt to %s failed with status: %s: %w", resp.Request.URL.Redacted(), resp.Status, errdefs.ErrUnauthenticated)
		default:
			return fmt.Errorf("login attempt to %s failed with status: %s: %w", resp.Request.URL.Redacted(), resp.Status, errdefs.ErrUnavailable)
		}
	}
}

// get asks the registry itself, with the authorization it is known to want. The
// caller closes the body.
func (r *Repository) get(ctx context.Context, path, query string) (*http.Response, error) {
	h := r.hosts[len(r.hosts)-1]
	u := url.URL{Scheme: h.scheme, Host: h.addr, Path: h.path + path, RawQuery: query}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", r.client.cfg.UserAgent)
	if err := r.auth.Authorize(ctx, req); err != nil {
		return nil, err
	}
	return h.client.Do(req)
}

// signInError tells refused credentials from registries that cannot be asked.
func (r *Repository) signInError(ctx context.Context, err error) error {
	err = r.explain(ctx, err, docker.ErrInvalidAuthorization.Error())
	if errdefs.IsPermissionDenied(err) {
		return fmt.Errorf("unauthorized: incorrect username or password: %w", errdefs.ErrUnauthenticated)
	}
	return fmt.Errorf("reach registry %s: %w", r.Host(), err)
}

// drain gives the connection back.
func drain(resp *http.Response) {
	// What is left of it is of no interest, and an error neither.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxTokenBody))
	_ = resp.Body.Close()
}

// maxTagList bounds the answer to Tags, in bytes; maxTags what is returned.
const (
	maxTagList = 4 << 20
	maxTags    = 1000
)

// Tags returns the tags of the repository, at most a thousand, as the first
// host lists them that does: mirrors are asked before the registry. The error
// is that of the registry, or, if it cannot be reached, of a mirror that says
// that there is nothing.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	ctx = quiet(withPatience(ctx))
	var absent, last error
	for _, h := range r.hosts {
		tags, err := r.at(h).listTags(ctx)
		if err == nil {
			return tags, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errdefs.IsNotFound(err) {
			absent = err
		}
		last = err
	}
	if absent != nil && Unreachable(last) {
		last = absent
	}
	return nil, r.explain(ctx, last, pullDenied)
}

// listTags asks the only host of the repository.
func (r *Repository) listTags(ctx context.Context) ([]string, error) {
	name := strings.TrimPrefix(r.spec.Locator, r.spec.Hostname()+"/")
	query := fmt.Sprintf("n=%d", maxTags)
	if r.hosts[0].name != r.spec.Hostname() {
		// A mirror of several registries needs to know which is meant.
		query += "&ns=" + url.QueryEscape(r.spec.Hostname())
	}
	for try := 0; ; try++ {
		resp, err := r.get(ctx, "/"+name+"/tags/list", query)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusUnauthorized && try == 0 {
			drain(resp)
			if err := r.auth.AddResponses(ctx, []*http.Response{resp}); err != nil {
				return nil, err
			}
			continue
		}
		return r.tags(resp)
	}
}

// tags reads the answer to Tags.
func (r *Repository) tags(resp *http.Response) ([]string, error) {
	defer drain(resp)
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("repository %s: %w", r.spec.Locator, errdefs.ErrNotFound)
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%s: %w", pullDenied, errdefs.ErrPermissionDenied)
	default:
		return nil, fmt.Errorf("list tags of %s: registry answers %s: %w", r.spec.Locator, resp.Status, errdefs.ErrUnavailable)
	}
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTagList)).Decode(&list); err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", r.spec.Locator, err)
	}
	return list.Tags[:min(len(list.Tags), maxTags)], nil
}
