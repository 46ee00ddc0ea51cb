package rpcerr

import (
	"encoding/json"
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

// decision is the JSON of a denial. The action may come as a name or a number
// and says nothing new.
type decision struct {
	Action       json.RawMessage `json:"action,omitempty"`
	DenyMessages []denyMessage   `json:"denyMessages,omitempty"`
}

type denyMessage struct {
	Message string `json:"message,omitempty"`
}

// denyDetail is the wire form of the messages.
func denyDetail(e *DenyError) *decision {
	d := &decision{Action: json.RawMessage(`"DENY"`)}
	for _, m := range e.Messages {
		d.DenyMessages = append(d.DenyMessages, denyMessage{m})
	}
	return d
}

// wrapDeny decodes the messages.
func wrapDeny(data []byte, err error) error {
	var d decision
	if json.Unmarshal(data, &d) != nil {
		return err
	}
	e := &DenyError{Err: err}
	for _, m := range d.DenyMessages {
		if m.Message != "" {
			e.Messages = append(e.Messages, m.Message)
		}
	}
	return e
}
