package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// maxTries is how often a request is sent, the first time included.
	maxTries = 4
	// firstPause is the pause after the first failure; it doubles.
	firstPause = 500 * time.Millisecond
	// maxPause bounds one pause, also what a registry may ask for.
	maxPause = 20 * time.Second
	// maxPatience bounds all pauses of one operation together.
	maxPatience = time.Minute
	// stallAfter is how long a body may send nothing before the connection is
	// given up.
	stallAfter = time.Minute
	// maxClients bounds the hosts whose connections are kept.
	maxClients = 256
)

// newTransport returns a transport for one host. HTTP/2 is off: its flow
// control makes large uploads slow, and one connection is shared by all.
func newTransport(tc *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 60 * time.Second}).DialContext,
		TLSClientConfig:       tc,
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{},
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: 5 * time.Second,
		// Registries may take minutes to store a large blob, but not for ever.
		ResponseHeaderTimeout: 5 * time.Minute,
		MaxIdleConns:          30,
		MaxIdleConnsPerHost:   DefaultConcurrency,
		IdleConnTimeout:       2 * time.Minute,
	}
}

// transport repeats requests that failed for the moment and ends bodies that
// stall.
type transport struct {
	base   http.RoundTripper
	retry  bool
	client *Client
}

// RoundTrip sends the request, again after a pause if the registry is busy.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	pause := firstPause
	for try := 1; ; try++ {
		resp, err := t.send(req)
		wait, again := t.again(req, resp, err, pause)
		if !again || try == maxTries {
			if err == nil {
				err = t.rest(req, resp)
			}
			return resp, err
		}
		if resp != nil {
			// Nothing of the answer is needed; a connection with an unread
			// body is closed.
			resp.Body.Close()
		}
		if werr := t.client.sleep(req.Context(), wait); werr != nil {
			return nil, werr
		}
		pause *= 2
	}
}

// rest waits as long as a registry asks for before whoever sent a request with
// a body gets the answer: it is sent again from where the body comes from, and
// at once.
func (t *transport) rest(req *http.Request, resp *http.Response) error {
	if !t.retry || resp.StatusCode != http.StatusTooManyRequests || req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	d, ok := retryAfter(resp.Header.Get("Retry-After"), t.client.cfg.Now())
	if !ok || d > maxPause || !spend(req.Context(), d) {
		return nil
	}
	if err := t.client.sleep(req.Context(), d); err != nil {
		resp.Body.Close()
		return err
	}
	return nil
}

// again decides whether a request is worth repeating and after which pause.
func (t *transport) again(req *http.Request, resp *http.Response, err error, pause time.Duration) (time.Duration, bool) {
	if !t.retry || req.Context().Err() != nil || (req.Body != nil && req.Body != http.NoBody) {
		return 0, false
	}
	if err != nil {
		return pause, transient(err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		if d, ok := retryAfter(resp.Header.Get("Retry-After"), t.client.cfg.Now()); ok {
			return d, d <= maxPause && spend(req.Context(), d)
		}
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if d, ok := retryAfter(resp.Header.Get("Retry-After"), t.client.cfg.Now()); ok && d <= maxPause {
			pause = max(pause, d)
		}
	default:
		return 0, false
	}
	return pause, spend(req.Context(), pause)
}

// transient reports errors of connections that may not come again. A refused
// connection or an unknown host is not one of them.
func transient(err error) bool {
	var ne net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) || (errors.As(err, &ne) && ne.Timeout())
}

// retryAfter reads seconds or a date.
func retryAfter(v string, now time.Time) (time.Duration, bool) {
	if v == "" {
		return 0, false
	}
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// patience is what is left of the pauses of an operation.
type patience struct {
	mu   sync.Mutex
	left time.Duration
}

type patienceKey struct{}

// withPatience starts an operation: layers above repeat requests too, and must
// not multiply the pauses without end.
func withPatience(ctx context.Context) context.Context {
	if ctx.Value(patienceKey{}) != nil {
		return ctx
	}
	return context.WithValue(ctx, patienceKey{}, &patience{left: maxPatience})
}

// spend takes d from the operation's patience and reports whether it lasts.
func spend(ctx context.Context, d time.Duration) bool {
	p, ok := ctx.Value(patienceKey{}).(*patience)
	if !ok {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left -= d
	return p.left >= 0
}

// sleep waits; it is replaced in tests.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// send sends the request once and watches the body of the answer.
func (t *transport) send(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Request = req
	noteLocation(req.Context(), resp)
	body := &watchedBody{body: resp.Body, outer: req.Context(), cancel: cancel, stall: t.client.stallAfter}
	body.timer = time.AfterFunc(body.stall, cancel)
	// It runs during reads only: a slow reader is not a stalled registry.
	body.timer.Stop()
	resp.Body = body
	return resp, nil
}

// watchedBody is a body that fails when it sends nothing for long.
type watchedBody struct {
	body   io.ReadCloser
	outer  context.Context // the caller's
	cancel context.CancelFunc
	timer  *time.Timer
	stall  time.Duration
}

// Read reads; whatever ends the connection before the body does, except the
// caller, is io.ErrUnexpectedEOF, on which readers ask for the rest.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.stall)
	n, err := b.body.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) && b.outer.Err() == nil {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close closes the body.
func (b *watchedBody) Close() error {
	b.timer.Stop()
	b.cancel()
	return b.body.Close()
}
