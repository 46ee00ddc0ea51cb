package policy

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Errors that callers tell apart; their texts are matched by clients.
var (
	// ErrDenied matches every refusal by a rule; it is errdefs
	// PermissionDenied.
	ErrDenied error = &kindError{"source denied by policy", errdefs.ErrPermissionDenied}
	// ErrTooManyRounds says that conversions do not come to an end; it is
	// errdefs InvalidArgument.
	ErrTooManyRounds error = &kindError{"too many operations", errdefs.ErrInvalidArgument}
)

// kindError is a text with a kind that does not show in it.
type kindError struct {
	text string
	kind error
}

// Error returns the text.
func (e *kindError) Error() string { return e.text }

// Unwrap returns the kind.
func (e *kindError) Unwrap() error { return e.kind }

// invalidf is an error about what a client sent.
func invalidf(format string, args ...any) error {
	return &kindError{fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument}
}

// refusedf is the refusal of a verifier.
func refusedf(format string, args ...any) error {
	return &kindError{fmt.Sprintf(format, args...), errdefs.ErrPermissionDenied}
}
