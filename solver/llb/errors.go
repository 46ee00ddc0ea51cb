package llb

import (
	"errors"
	"fmt"
)

// ErrInvalid matches every error of Load that is the fault of the Definition.
// It adds nothing to the text, which clients know.
var ErrInvalid = errors.New("invalid LLB")

// invalidError is an ErrInvalid with a text of its own.
type invalidError struct{ err error }

func (e *invalidError) Error() string        { return e.err.Error() }
func (e *invalidError) Unwrap() error        { return e.err }
func (e *invalidError) Is(target error) bool { return target == ErrInvalid }

// invalidf formats an error that matches ErrInvalid.
func invalidf(format string, args ...any) error {
	return &invalidError{fmt.Errorf(format, args...)}
}
