package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// minPieces is the size from which a blob whose upload was cut off is sent
	// in pieces.
	minPieces = 1 << 20
	// pieceSize is how much is sent in one request then: as much as a cut
	// connection can lose.
	pieceSize = 8 << 20
)

// errStartOver says that a registry does not know how far an upload got.
var errStartOver = errors.New("the upload cannot be resumed")

// location notes where a registry wants the bytes of an upload.
type location struct {
	mu  sync.Mutex
	url *url.URL
}

type locationKey struct{}

// note keeps the address in an answer to a request under ctx that began or
// continued an upload.
func noteLocation(ctx context.Context, resp *http.Response) {
	l, ok := ctx.Value(locationKey{}).(*location)
	if !ok || resp.StatusCode != http.StatusAccepted {
		return
	}
	if u, err := resp.Location(); err == nil {
		l.mu.Lock()
		l.url = u
		l.mu.Unlock()
	}
}

// upload sends one blob in pieces, from wherever an earlier try got to.
type upload struct {
	repo *Repository
	host *host
	desc ocispecs.Descriptor
	// size of a piece.
	piece int64
	data  content.ReaderAt
	at    location
	sent  int64
	told  func(int64)
}

// resume sends what is missing of a blob. at is where an earlier try was sent
// to; a registry that does not know how much it has gets everything once more.
func (r *Repository) resume(ctx context.Context, at *url.URL, desc ocispecs.Descriptor, from content.Provider, told func(int64)) error {
	data, err := from.ReaderAt(ctx, desc)
	if err != nil {
		return fmt.Errorf("read blob: %w", err)
	}
	defer data.Close()
	ctx, err = docker.ContextWithRepositoryScope(ctx, r.spec, true)
	if err != nil {
		return err
	}
	u := &upload{repo: r, host: r.hosts[len(r.hosts)-1], desc: desc, piece: r.client.pieceSize, data: data, told: told}
	u.at.url = at
	ctx = context.WithValue(ctx, locationKey{}, &u.at)
	pause := firstPause
	for try := 1; ; try++ {
		before := u.sent
		err := u.attempt(ctx)
		if err == nil {
			return nil
		}
		if u.sent > before {
			// Something arrived: a bad line is not a dead one.
			try, pause = 0, firstPause
		}
		wait, again := u.again(err, pause)
		if !again || try >= maxPushes || ctx.Err() != nil || !spend(ctx, wait) || r.client.sleep(ctx, wait) != nil {
			return err
		}
		pause *= 2
	}
}

// again tells whether and when to try again after err.
func (u *upload) again(err error, pause time.Duration) (time.Duration, bool) {
	var busy *busyError
	switch {
	case errors.Is(err, errStartOver):
		u.at.url, u.sent = nil, 0
		return pause, true
	case errors.As(err, &busy):
		return max(pause, busy.wait), busy.wait <= maxPause
	}
	return pause, transient(err)
}

// busyError is the answer of a registry that cannot serve just now.
type busyError struct {
	error
	wait time.Duration
}

// Unwrap returns the answer.
func (e *busyError) Unwrap() error { return e.error }

// attempt finds out how far the upload got, and goes on from there to its end.
func (u *upload) attempt(ctx context.Context) error {
	if err := u.locate(ctx); err != nil {
		return err
	}
	for u.sent < u.desc.Size {
		n := min(u.piece, u.desc.Size-u.sent)
		body := &countedReader{SectionReader: io.NewSectionReader(u.data, u.sent, n), count: u.told}
		header := http.Header{"Content-Type": {"application/octet-stream"}, "Content-Range": {fmt.Sprintf("%d-%d", u.sent, u.sent+n-1)}}
		resp, err := u.do(ctx, http.MethodPatch, u.at.url, body, n, header)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			return refused(resp, u.repo.client.cfg.Now())
		}
		sent, ok := received(resp)
		if !ok {
			sent = u.sent + n
		}
		if sent <= u.sent || sent > u.desc.Size {
			return fmt.Errorf("registry says that it has %d of %d bytes: %w", sent, u.desc.Size, errStartOver)
		}
		u.sent = sent
	}
	end := *u.at.url
	q := end.Query()
	q.Set("digest", u.desc.Digest.String())
	end.RawQuery = q.Encode()
	resp, err := u.do(ctx, http.MethodPut, &end, nil, 0, nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusNoContent {
		return refused(resp, u.repo.client.cfg.Now())
	}
	return nil
}

// locate asks how much the registry has, or begins a new upload.
func (u *upload) locate(ctx context.Context) error {
	if u.at.url != nil {
		resp, err := u.do(ctx, http.MethodGet, u.at.url, nil, 0, nil)
		if err != nil {
			return err
		}
		resp.Body.Close()
		sent, ok := received(resp)
		if resp.StatusCode == http.StatusNoContent && ok && sent <= u.desc.Size {
			if at, err := resp.Location(); err == nil {
				u.at.url = at
			}
			u.sent = sent
			return nil
		}
		u.at.url = nil
	}
	u.sent = 0
	begin := &url.URL{
		Scheme: u.host.scheme, Host: u.host.addr,
		Path: u.host.path + "/" + strings.TrimPrefix(u.repo.spec.Locator, u.repo.spec.Hostname()+"/") + "/blobs/uploads/",
	}
	resp, err := u.do(ctx, http.MethodPost, begin, nil, 0, nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted || u.at.url == nil {
		return refused(resp, u.repo.client.cfg.Now())
	}
	return nil
}

// do sends a request, with what the registry wants to see if it is sent to the
// registry itself.
func (u *upload) do(ctx context.Context, method string, to *url.URL, body io.ReadSeeker, size int64, header http.Header) (*http.Response, error) {
	for again := false; ; again = true {
		req, err := http.NewRequestWithContext(ctx, method, to.String(), nil)
		if err != nil {
			return nil, err
		}
		for k, v := range header {
			req.Header[k] = v
		}
		req.Header.Set("User-Agent", u.repo.client.cfg.UserAgent)
		if body != nil {
			if _, err := body.Seek(0, io.SeekStart); err != nil {
				return nil, err
			}
			req.Body, req.ContentLength = io.NopCloser(body), size
		}
		// A registry may send its clients elsewhere with an address that opens
		// one upload; what opens the registry is not for that place.
		known := to.Host == u.host.addr && to.Scheme == u.host.scheme
		if known {
			if err := u.repo.auth.Authorize(ctx, req); err != nil {
				return nil, err
			}
		}
		resp, err := u.host.client.Do(req)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || again || !known {
			return resp, err
		}
		resp.Body.Close()
		if err := u.repo.auth.AddResponses(ctx, []*http.Response{resp}); err != nil {
			return nil, err
		}
	}
}

// received reads how many bytes a registry says it has: "0-N" names the last.
func received(resp *http.Response) (int64, bool) {
	first, last, ok := strings.Cut(resp.Header.Get("Range"), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || err != nil || strings.TrimPrefix(first, "bytes=") != "0" || n < 0 {
		return 0, false
	}
	if n == 0 && resp.Request.Method != http.MethodPatch {
		// Nothing and one byte look the same; a byte is sent twice gladly.
		return 0, false
	}
	return n + 1, true
}

// refused is the error of an answer.
func refused(resp *http.Response, now time.Time) error {
	err := remoteerrors.NewUnexpectedStatusErr(resp)
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		var wait time.Duration
		if resp.StatusCode != http.StatusTooManyRequests { // Then the transport has waited.
			wait, _ = retryAfter(resp.Header.Get("Retry-After"), now)
		}
		return &busyError{err, wait}
	case http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusBadRequest:
		if resp.Request.Method == http.MethodPatch {
			return fmt.Errorf("%w: %w", err, errStartOver)
		}
	}
	return err
}

// resumable tells whether a push that failed is worth going on with in pieces:
// what was cut off is, if it was large.
func resumable(desc ocispecs.Descriptor, err error) bool {
	return desc.Size >= minPieces && !strings.HasSuffix(desc.MediaType, "+json") && transient(err) && !errdefs.IsNotFound(err)
}
