package http

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
)

const (
	// maxRedirects bounds how often a server may send us elsewhere.
	maxRedirects = 10
	// attempts is how often a request is made that fails before its body.
	attempts = 3
)

// Prefixes of the names of secrets that clients may have for a host.
const (
	authHeaderPrefix = "HTTP_AUTH_HEADER_"
	authTokenPrefix  = "HTTP_AUTH_TOKEN_"
)

// newTransport returns the transport with all that must not last for ever.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    15 * time.Second,
		ResponseHeaderTimeout:  2 * time.Minute,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 1 << 20,
	}
}

// newClient returns a client that follows redirects with care.
func newClient(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		switch {
		case len(via) > maxRedirects:
			return fmt.Errorf("more than %d redirects: %w", maxRedirects, errdefs.ErrFailedPrecondition)
		case req.URL.Host == sessionHost:
			// Only the definition may name what clients hold ready.
			return fmt.Errorf("redirect to %s refused: %w", sessionHost, errdefs.ErrPermissionDenied)
		}
		// The standard library would also send credentials to subdomains,
		// other ports, and without TLS. What one hop lost stays lost.
		first, last := via[0], via[len(via)-1]
		if !sameOrigin(req.URL, first.URL) || last.Header.Get("Authorization") == "" {
			req.Header.Del("Authorization")
		}
		return nil
	}}
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

// newRequest makes the request for a spec, with the credentials that the
// clients have.
func (s *Source) newRequest(ctx context.Context, env solver.Env, sp *spec) (*http.Request, error) {
	u := *sp.target
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", s.cfg.UserAgent)
	for _, h := range sp.headers {
		req.Header.Set(h.Name, h.Value)
	}
	auth, err := s.authorization(ctx, env, sp)
	if err != nil {
		return nil, err
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	return req, nil
}

// authorization returns the header of that name, or "". Of several the one for
// the host's token wins, then the host's header, then the URL's own.
func (s *Source) authorization(ctx context.Context, env solver.Env, sp *spec) (string, error) {
	if sp.authSecret != "" {
		v, err := s.secret(ctx, env, sp.authSecret)
		if err != nil {
			return "", fmt.Errorf("failed to retrieve HTTP auth secret %s: %w", sp.authSecret, err)
		}
		return v, nil
	}
	var auth string
	if u := sp.target.User; u != nil {
		pass, _ := u.Password()
		auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+pass))
	}
	if len(env.Sessions()) == 0 {
		return auth, nil
	}
	for _, name := range []string{authHeaderPrefix, authTokenPrefix} {
		v, err := s.secret(ctx, env, name+sp.target.Hostname())
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case errdefs.IsInvalidArgument(err):
			return "", err
		case err != nil:
			// A client without secrets is no reason not to ask the server.
		case name == authTokenPrefix:
			auth = "Bearer " + v
		default:
			auth = v
		}
	}
	return auth, nil
}

// secret returns a secret that can be a header. Errors do not show it.
func (s *Source) secret(ctx context.Context, env solver.Env, id string) (string, error) {
	b, err := s.cfg.Sessions.Secret(ctx, env.Sessions(), id)
	if err != nil {
		return "", err
	}
	// Files that hold one line end with a newline.
	v := strings.TrimRight(string(b), "\r\n")
	if len(v) > maxHeader || strings.ContainsFunc(v, isControl) {
		return "", fmt.Errorf("secret %s is not one line of at most %d bytes: %w", id, maxHeader, errdefs.ErrInvalidArgument)
	}
	return v, nil
}

// statusError is an answer that is not the file.
type statusError int

// Error returns the text that clients know.
func (e statusError) Error() string { return fmt.Sprintf("invalid response status %d", int(e)) }

// Unwrap returns the kind.
func (e statusError) Unwrap() error {
	switch {
	case e == http.StatusNotFound, e == http.StatusGone:
		return errdefs.ErrNotFound
	case e == http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case e == http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	case e.temporary():
		return errdefs.ErrUnavailable
	}
	return errdefs.ErrUnknown
}

// temporary reports whether asking again may help.
func (e statusError) temporary() bool {
	switch e {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// do makes a request until there is an answer that is the file or "not
// modified". Errors name the URL without secrets and never where it redirects.
func (s *Source) do(req *http.Request, sp *spec) (*http.Response, error) {
	ctx := req.Context()
	for n := 1; ; n++ {
		resp, err := s.client.Do(req)
		if err == nil {
			if resp.StatusCode == http.StatusNotModified || resp.StatusCode >= 200 && resp.StatusCode < 300 {
				return resp, nil
			}
			resp.Body.Close()
			err = statusError(resp.StatusCode)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		if n >= attempts || !retriable(err) {
			return nil, fmt.Errorf("get %s: %w", sp.shown(), err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(s.pause << n):
		}
	}
}

// retriable reports whether a request that failed may succeed if repeated.
func retriable(err error) bool {
	if st := statusError(0); errors.As(err, &st) {
		return st.temporary()
	}
	var op *net.OpError
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsTemporary
	}
	return errors.As(err, &op)
}
