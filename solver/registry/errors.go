package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
)

// Beginnings of texts that users and scripts look for.
const (
	pullDenied = "pull access denied, repository does not exist or may require authorization"
	pushDenied = "push access denied, repository does not exist or may require authorization"
)

var (
	// queries are the parts of URLs that may be signatures: registries send
	// their clients to storage with URLs that open a blob to whoever has them.
	queries = regexp.MustCompile(`(https?://[^\s"'?]+)\?[^\s"']*`)
	// userinfo is a password in a URL.
	userinfo = regexp.MustCompile(`(https?://)[^\s"'/@]+@`)
)

// redactedError shows the text of an error without the secrets in its URLs.
type redactedError struct {
	text string
	err  error
}

// Error returns the text without secrets.
func (e *redactedError) Error() string { return e.text }

// Unwrap returns the error itself, for errors.Is and errors.As.
func (e *redactedError) Unwrap() error { return e.err }

// redact removes what must not be shown from the text of err.
func redact(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	clean := userinfo.ReplaceAllString(queries.ReplaceAllString(text, "$1"), "$1")
	if clean == text {
		return err
	}
	return &redactedError{text: clean, err: err}
}

// explain makes the error of an operation on a repository one for people: it
// says what was denied, to whom the request went, and hides secrets. denied is
// pullDenied or pushDenied.
func (r *Repository) explain(ctx context.Context, err error, denied string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = redact(err)
	var status remoteerrors.ErrUnexpectedStatus
	refused := errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden)
	if (refused || errors.Is(err, docker.ErrInvalidAuthorization)) && !strings.Contains(err.Error(), denied) {
		err = fmt.Errorf("%s: %w", denied, err)
	}
	if refused || errors.Is(err, docker.ErrInvalidAuthorization) {
		err = &kindError{err: err, kind: errdefs.ErrPermissionDenied}
	}
	if len(r.hosts) > 1 {
		var names []string
		for _, h := range r.hosts {
			names = append(names, h.addr)
		}
		return fmt.Errorf("%w (tried %s)", err, strings.Join(names, ", "))
	}
	return err
}

// kindError gives an error a kind without changing its text.
type kindError struct{ err, kind error }

// Error returns the text of the error.
func (e *kindError) Error() string { return e.err.Error() }

// Unwrap returns the error and its kind.
func (e *kindError) Unwrap() []error { return []error{e.err, e.kind} }
