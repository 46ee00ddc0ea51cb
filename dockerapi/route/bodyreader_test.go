package route

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// connection notes the deadlines of a connection.
type connection struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

// SetReadDeadline notes a deadline.
func (c *connection) SetReadDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

// drip gives one byte at a time, and lets time pass before it.
type drip struct {
	now  *time.Time
	step time.Duration
	left int
}

// Read gives one byte.
func (d *drip) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	d.left--
	*d.now = d.now.Add(d.step)
	p[0] = 'x'
	return 1, nil
}

// newBody is a reader of a request with a body, on a clock of its own.
func newBody(body io.Reader, now *time.Time) (*BodyReader, *connection) {
	c := &connection{ResponseRecorder: httptest.NewRecorder()}
	b := NewBodyReader(c, httptest.NewRequest(http.MethodPost, "/", body))
	b.now = func() time.Time { return *now }
	return b, c
}

func TestBodyReader(t *testing.T) {
	now := time.Unix(1000, 0)
	b, c := newBody(strings.NewReader("abc"), &now)
	if got, err := io.ReadAll(b); string(got) != "abc" || err != nil || b.Err() != nil {
		t.Fatalf("read %q, %v, %v", got, err, b.Err())
	}
	b.Done()
	if first, last := c.deadlines[0], c.deadlines[len(c.deadlines)-1]; !first.Equal(now.Add(bodyWithin)) || !last.IsZero() {
		t.Errorf("deadlines are %v", c.deadlines)
	}
}

func TestBodyReaderSlow(t *testing.T) {
	now := time.Unix(1000, 0)
	b, _ := newBody(&drip{&now, time.Minute, 1 << 20}, &now)
	n, err := io.Copy(io.Discard, b)
	if !errdefs.IsInvalidArgument(err) || !errors.Is(b.Err(), err) || n > 20 {
		t.Errorf("a byte a minute: %d, %v, %v", n, err, b.Err())
	}
	// Slow, but enough.
	b, _ = newBody(&drip{&now, time.Millisecond, 1 << 20}, &now)
	if n, err := io.Copy(io.Discard, b); n != 1<<20 || err != nil {
		t.Errorf("a byte a millisecond: %d, %v", n, err)
	}
	b, _ = newBody(io.MultiReader(strings.NewReader("a"), silent{}), &now)
	if _, err := io.Copy(io.Discard, b); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "sent nothing for 5m0s") {
		t.Errorf("a client that fell silent: %v", err)
	}
}

// silent is a connection whose deadline passes.
type silent struct{}

// Read fails as such a connection does.
func (silent) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }
