package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source/singlefile"
)

// sessionHost is the host name of uploads.
const sessionHost = "buildkit-session"

const (
	// telling is how much older than its answer a Last-Modified must be for
	// two changes in that second to be ruled out, clocks being as they are.
	telling = time.Minute
)

// errStalled ends a transfer that does not get on.
var errStalled = errors.New("the server has stopped sending")

// obtain returns the file that a URL has now, transferring it only if it is not
// the one on record.
func (s *Source) obtain(ctx context.Context, env solver.Env, sp *spec) (found, error) {
	if sp.local() {
		return s.upload(ctx, env, sp)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := s.newRequest(ctx, env, sp)
	if err != nil {
		return found{}, err
	}
	last, ok := s.records.get(sp.question())
	if ok {
		if r, err := s.cfg.Refs.Get(ctx, last.ID); err == nil {
			// Held, so that "not modified" cannot come too late.
			s.hold(ctx, env, r)
		} else {
			ok = false
		}
	}
	if ok {
		last.validate(req)
		if s.unchanged(req, last) {
			return last.found, s.pin(ctx, sp, last.found)
		}
	}
	resp, err := s.do(req, sp)
	if err != nil {
		return found{}, err
	}
	defer func() { resp.Body.Close() }()
	if ok && last.matches(resp) {
		return last.found, s.pin(ctx, sp, last.found)
	}
	if resp.StatusCode == http.StatusNotModified {
		// Something on the way is confused: ask for the file itself.
		resp.Body.Close()
		req.Header.Del("If-None-Match")
		req.Header.Del("If-Modified-Since")
		if resp, err = s.do(req, sp); err != nil {
			return found{}, err
		}
		if resp.StatusCode == http.StatusNotModified {
			return found{}, fmt.Errorf("get %s: %w", sp.shown(), statusError(resp.StatusCode))
		}
	}
	rec, err := s.save(ctx, cancel, env, sp, resp)
	if err != nil {
		return found{}, err
	}
	return rec.found, s.records.put(sp.question(), rec)
}

// unchanged asks without the body whether the recorded file is still the one:
// some servers that send ETags do not know conditions, and would send it all.
// Any fault means that it is not known.
func (s *Source) unchanged(req *http.Request, last record) bool {
	if last.ETag == "" {
		return false
	}
	head := req.Clone(req.Context())
	head.Method = http.MethodHead
	// As the standard library does for GET: the ETag may depend on it.
	head.Header.Set("Accept-Encoding", "gzip")
	resp, err := s.client.Do(head)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotModified) && last.matches(resp)
}

// save writes the body of a response into a layer.
func (s *Source) save(ctx context.Context, cancel context.CancelCauseFunc, env solver.Env, sp *spec, resp *http.Response) (record, error) {
	name := filename(sp.file.Filename, resp.Header.Get("Content-Disposition"), sp.target)
	rec := newRecord(resp, name)
	if resp.ContentLength > s.cfg.MaxSize {
		return record{}, s.tooLarge(sp)
	}
	body := newWatched(resp.Body, s.stall, cancel)
	defer body.stop()
	if err := s.receive(ctx, env, sp, body, resp.ContentLength, &rec.found); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return record{}, fmt.Errorf("get %s: %w", sp.shown(), err)
	}
	return rec, s.pin(ctx, sp, rec.found)
}

// upload receives a file that a client holds ready. It can be had once, so
// there is nothing to record.
func (s *Source) upload(ctx context.Context, env solver.Env, sp *spec) (found, error) {
	f := found{Filename: filename(sp.file.Filename, "", sp.target)}
	err := s.cfg.Sessions.Any(ctx, env.Sessions(), func(ctx context.Context, c *session.Session) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		r, err := c.Upload(ctx, sp.target.Host, sp.target.Path)
		if err != nil {
			return err
		}
		defer r.Close()
		return s.receive(ctx, env, sp, r, -1, &f)
	})
	if err != nil {
		return found{}, fmt.Errorf("get %s: %w", sp.shown(), err)
	}
	return f, s.pin(ctx, sp, f)
}

func (s *Source) tooLarge(sp *spec) error {
	return fmt.Errorf("%s has more than %d bytes: %w", sp.shown(), s.cfg.MaxSize, errdefs.ErrResourceExhausted)
}

// newRecord reads what a response says of the file.
func newRecord(resp *http.Response, name string) record {
	rec := record{found: found{Filename: name}, ETag: resp.Header.Get("ETag")}
	text := resp.Header.Get("Last-Modified")
	if t, err := http.ParseTime(text); err == nil {
		sec := t.Unix()
		rec.LastModified = &sec
		if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && at.Sub(t) >= telling {
			rec.Since = text
		}
	}
	return rec
}

// validate makes a request conditional.
func (r *record) validate(req *http.Request) {
	if r.ETag != "" {
		req.Header.Set("If-None-Match", r.ETag)
	} else if r.Since != "" {
		req.Header.Set("If-Modified-Since", r.Since)
	}
}

// matches reports whether a response to a validated request says that the file
// is still the same. Servers that do not know conditions answer with the file
// and the ETag we have.
func (r *record) matches(resp *http.Response) bool {
	tag := strings.TrimPrefix(resp.Header.Get("ETag"), "W/")
	same := tag == strings.TrimPrefix(r.ETag, "W/")
	if resp.StatusCode == http.StatusNotModified {
		return tag == "" || same
	}
	return tag != "" && same
}

// receive writes a file into a layer of its own that is kept, and fills in the
// ref and the digest. size is -1 if not known.
func (s *Source) receive(ctx context.Context, env solver.Env, sp *spec, from io.Reader, size int64, f *found) error {
	counter := progress.Reporter{To: env}.Counter("downloading "+f.Filename, "downloading", max(size, 0))
	defer counter.Done()
	mtime := time.Unix(0, 0)
	if f.LastModified != nil {
		mtime = time.Unix(*f.LastModified, 0)
	}
	file := singlefile.File{
		Attributes: sp.file, Name: f.Filename, ModTime: mtime, MaxSize: s.cfg.MaxSize, Algorithm: digest.SHA256,
		Check: func(got digest.Digest) error {
			if sp.checksum != "" && sp.checksum.Algorithm() == got.Algorithm() && got != sp.checksum {
				return mismatch(got, sp.checksum)
			}
			return nil
		},
	}
	r, d, err := singlefile.Write(ctx, s.cfg.Refs, file, io.TeeReader(from, counter),
		ref.WithKeep(), ref.WithDescription("http url "+sp.shown()))
	if err != nil {
		return err
	}
	f.ID, f.Digest = r.ID(), d
	s.hold(ctx, env, r)
	return nil
}

// watched is a body that ends the request when it stalls.
type watched struct {
	from  io.Reader
	limit time.Duration
	timer *time.Timer
}

func newWatched(from io.Reader, limit time.Duration, cancel context.CancelCauseFunc) *watched {
	return &watched{from: from, limit: limit, timer: time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("%w for %v: %w", errStalled, limit, errdefs.ErrUnavailable))
	})}
}

// Read starts the time anew; the time that we take to write does not count.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.limit)
	n, err := w.from.Read(p)
	w.timer.Stop()
	return n, err
}

func (w *watched) stop() { w.timer.Stop() }
