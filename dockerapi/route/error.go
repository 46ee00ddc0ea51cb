package route

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/errdefs/pkg/errhttp"
	"google.golang.org/grpc/status"
)

// StatusError is an error with a status of its own.
type StatusError struct {
	Status int
	Err    error
}

// Error returns the text of the wrapped error.
func (e *StatusError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *StatusError) Unwrap() error { return e.Err }

// Status is the HTTP status that stands for an error.
func Status(err error) int {
	var own *StatusError
	if errors.As(err, &own) {
		return own.Status
	}
	if _, ok := status.FromError(err); ok {
		err = errgrpc.ToNative(err)
	}
	switch {
	case errdefs.IsInvalidArgument(err), errdefs.IsFailedPrecondition(err), errdefs.IsOutOfRange(err):
		return http.StatusBadRequest
	case errdefs.IsAlreadyExists(err), errdefs.IsConflict(err):
		return http.StatusConflict
	case errdefs.IsUnauthorized(err):
		return http.StatusUnauthorized
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden
	case errdefs.IsNotFound(err):
		return http.StatusNotFound
	case errdefs.IsNotModified(err):
		return http.StatusNotModified
	case errdefs.IsNotImplemented(err):
		return http.StatusNotImplemented
	case errdefs.IsUnavailable(err):
		return http.StatusServiceUnavailable
	case errors.Is(err, context.Canceled):
		return http.StatusInternalServerError
	}
	return errhttp.ToHTTP(err)
}

// WriteError answers with an error. The content type is compared by clients
// as a string: nothing may be added to it.
func WriteError(w http.ResponseWriter, err error) { writeMessage(w, Status(err), Text(err)) }

// kinds are what errors end in that have a kind, and the status or the context
// says already.
var kinds = []error{
	errdefs.ErrInvalidArgument, errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrConflict, errdefs.ErrFailedPrecondition,
	errdefs.ErrNotImplemented, errdefs.ErrUnavailable, errdefs.ErrPermissionDenied, errdefs.ErrUnauthenticated, errdefs.ErrOutOfRange,
}

// Text is what a client is told of an error: clients compare texts, so what
// only marks the kind is left out.
func Text(err error) string {
	text := err.Error()
	if s, ok := status.FromError(err); ok {
		text = s.Message()
	}
	for _, kind := range kinds {
		if rest, ok := strings.CutSuffix(text, ": "+kind.Error()); ok && errors.Is(err, kind) {
			return rest
		}
	}
	return text
}

func writeMessage(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status == http.StatusNotModified {
		return
	}
	// An error means that nobody listens any more.
	_ = json.NewEncoder(w).Encode(struct {
		Message string `json:"message"`
	}{text})
}

// WriteJSON answers with a value.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	out := json.NewEncoder(w)
	// "<none>" is to be read as it is.
	out.SetEscapeHTML(false)
	return out.Encode(v)
}
