package route

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/containerd/errdefs"
)

// bodyWithin is how long a client may send nothing of a body, and slowWindow
// and slowBytes how few bytes it may send in which time: who sends a byte now
// and then would otherwise hold files, a lease and a connection for ever.
const (
	bodyWithin = 5 * time.Minute
	slowWindow = 15 * time.Minute
	slowBytes  = 64 << 10
)

// BodyReader reads the body of a request whose sender may be slow, but not for
// ever. Use NewBodyReader; one goroutine reads.
type BodyReader struct {
	body    io.Reader
	control *http.ResponseController
	now     func() time.Time
	// since is when the window began, got what came in it.
	since time.Time
	got   int64
	err   error
}

// NewBodyReader returns a reader of the body of r. Done is to be called when
// nothing more is wanted of it.
func NewBodyReader(w http.ResponseWriter, r *http.Request) *BodyReader {
	return &BodyReader{body: r.Body, control: http.NewResponseController(w), now: time.Now}
}

// Read implements io.Reader. A client that sends nothing, or next to nothing,
// for too long is errdefs InvalidArgument.
func (b *BodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	now := b.now()
	if b.since.IsZero() {
		b.since = now
	}
	if now.Sub(b.since) > slowWindow {
		if b.got < slowBytes {
			b.err = fmt.Errorf("the client sent %d bytes in %s: %w", b.got, now.Sub(b.since).Round(time.Second), errdefs.ErrInvalidArgument)
			return 0, b.err
		}
		b.since, b.got = now, 0
	}
	// Not every connection can; those have no slow clients.
	_ = b.control.SetReadDeadline(now.Add(bodyWithin))
	n, err := b.body.Read(p)
	b.got += int64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the client sent nothing for %s: %w", bodyWithin, errdefs.ErrInvalidArgument)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// Err is why the body could not be read to its end; nil if nothing went wrong
// so far. Whatever a reader of archives says of a body that broke off, this is
// the reason.
func (b *BodyReader) Err() error { return b.err }

// Done lets the connection wait without a limit again: from then on only its
// end is watched for.
func (b *BodyReader) Done() { _ = b.control.SetReadDeadline(time.Time{}) }
