package rpcerr

import (
	"encoding/json"

	"github.com/kilnbuild/kiln/solver/pb/policysession"
)

// DenyError says why a policy refused a source.
type DenyError struct {
	Messages []string
	Err      error
}

// Error returns the underlying text; clients print the messages themselves.
func (e *DenyError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *DenyError) Unwrap() error { return e.Err }

// denyDetail is the wire form of the messages.
func denyDetail(e *DenyError) *policysession.DecisionResponse {
	d := &policysession.DecisionResponse{}
	for _, m := range e.Messages {
		d.DenyMessages = append(d.DenyMessages, &policysession.DenyMessage{Message: m})
	}
	return d
}

// wrapDeny decodes the messages.
func wrapDeny(data []byte, err error) error {
	var d policysession.DecisionResponse
	if json.Unmarshal(data, &d) != nil {
		return err
	}
	e := &DenyError{Err: err}
	for _, m := range d.GetDenyMessages() {
		if m.GetMessage() != "" {
			e.Messages = append(e.Messages, m.GetMessage())
		}
	}
	return e
}
