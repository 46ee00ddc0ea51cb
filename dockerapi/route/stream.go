package route

import (
	"encoding/json"
	"net/http"
	"sync"
)

// Message is one object of a stream; fields that are empty are left out.
type Message struct {
	Stream   string    `json:"stream,omitempty"`
	Status   string    `json:"status,omitempty"`
	ID       string    `json:"id,omitempty"`
	Progress *Progress `json:"progressDetail,omitempty"`
	Error    *Failure  `json:"errorDetail,omitempty"`
	// ErrorText repeats the text of Error for older clients.
	ErrorText string `json:"error,omitempty"`
	Aux       any    `json:"aux,omitempty"`
}

// Progress counts bytes or other units.
type Progress struct {
	Current int64 `json:"current,omitempty"`
	Total   int64 `json:"total,omitempty"`
}

// Failure is an error within a stream. Code is that of a process, or 401 for
// want of credentials.
type Failure struct {
	Code    int    `json:"code,omitempty"`
	Message string `json:"message"`
}

// Stream writes messages to a client, each at once. It is safe for concurrent
// use. Nothing is written before the first message, so that an error before it
// still has a status.
type Stream struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	began   bool
	err     error
}

// NewStream returns a stream over an answer.
func NewStream(w http.ResponseWriter) *Stream {
	return &Stream{w: w, control: http.NewResponseController(w)}
}

// Send writes a message. The error is that of the first one that failed: the
// client has gone.
func (s *Stream) Send(m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if m.Error != nil {
		m.ErrorText = m.Error.Message
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if !s.began {
		s.began = true
		s.w.Header().Set("Content-Type", "application/json")
	}
	if _, s.err = s.w.Write(append(data, '\r', '\n')); s.err == nil {
		s.err = s.control.Flush()
	}
	return s.err
}

// Write sends text, as an io.Writer.
func (s *Stream) Write(p []byte) (int, error) {
	if err := s.Send(Message{Stream: string(p)}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Begun tells whether anything has been sent.
func (s *Stream) Begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.began
}

// Fail ends the stream with an error, as a message if it has begun; otherwise
// the error is returned for the caller to answer with.
func (s *Stream) Fail(err error, code int) error {
	if err == nil || !s.Begun() {
		return err
	}
	return s.Send(Message{Error: &Failure{Code: code, Message: Text(err)}})
}
