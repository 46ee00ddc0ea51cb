package buildxdriver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/buildx/driver"
	"github.com/docker/buildx/util/progress"
)

// readyWithin bounds the wait for a daemon that starts; the first start on a
// slow disk takes a few seconds.
const readyWithin = 60 * time.Second

// pause is between two looks at a daemon that starts.
const pause = 30 * time.Millisecond

// Bootstrap implements driver.Driver: afterwards kilnd answers at the socket,
// or the error says what it said last.
func (d *Driver) Bootstrap(ctx context.Context, l progress.Logger) error {
	return progress.Wrap("[internal] booting kiln", l, func(sub progress.SubLogger) error {
		say := func(format string, args ...any) { sub.Log(1, fmt.Appendf(nil, format+"\n", args...)) }
		if !strings.HasSuffix(d.opts.ignored, "/docker.sock") && strings.Contains(d.opts.ignored, "://") {
			say("taking %s for the Docker Engine; --driver-opt socket= names another socket of kilnd", d.opts.ignored)
		}
		ctx, cancel := context.WithTimeout(ctx, readyWithin)
		defer cancel()
		for {
			_, err := d.look(ctx)
			switch {
			case err == nil:
				say("kilnd answers at %s", d.opts.socket)
				return nil
			case errors.Is(err, driver.ErrNotRunning{}):
				return d.bring(ctx, say)
			case errors.Is(err, os.ErrPermission):
				return err
			}
			// Somebody holds the socket: a daemon that starts, or one that ends.
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for kilnd at %s: %w", d.opts.socket, err)
			case <-time.After(pause):
			}
		}
	})
}

// bring starts kilnd and waits for its first answer, unless another process
// has done so in the meantime.
func (d *Driver) bring(ctx context.Context, say func(string, ...any)) error {
	made, err := makeAll(d.opts.state)
	if err != nil {
		return fmt.Errorf("%w (only root starts the system's kilnd; for one of this user: systemctl --user start kiln.socket)", err)
	}
	unlock, err := lockDir(ctx, d.opts.state)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := d.look(ctx); err == nil {
		say("kilnd answers at %s", d.opts.socket)
		return nil
	}
	p, err := d.start(made)
	if err != nil {
		d.removeEmpty(&record{MadeState: made})
		return err
	}
	say("started %s, process %d, log %s", p.program, p.record.PID, p.log)
	for {
		_, err := d.look(ctx)
		if err == nil {
			say("kilnd answers at %s", d.opts.socket)
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("start kilnd: it ended with %s before it was ready%s", p.state(), p.lastWords())
		case <-ctx.Done():
			// A daemon that nobody can use would only be in the way.
			stop := p.record.end(stopWithin)
			if errors.Is(ctx.Err(), context.Canceled) {
				return errors.Join(fmt.Errorf("start kilnd: %w", ctx.Err()), stop)
			}
			return errors.Join(fmt.Errorf("start kilnd: it was not ready within %s: %w%s", readyWithin, err, p.lastWords()), stop)
		case <-time.After(pause):
		}
	}
}

// makeAll makes a directory and its parents, and returns the path of the
// topmost one that was missing; empty if none was.
func makeAll(dir string) (made string, err error) {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(at); !errors.Is(err, os.ErrNotExist) {
			break
		}
		made = at
	}
	// Clients pass through; who may connect is up to the socket.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", fmt.Errorf("make directory for kilnd: %w", err)
	}
	return made, nil
}

// lastBytes bounds how much of a log goes into an error.
const lastBytes = 4 << 10

// tail returns the last whole lines of a file.
func tail(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	from := max(st.Size()-lastBytes, 0)
	text, err := io.ReadAll(io.NewSectionReader(f, from, lastBytes))
	if from > 0 {
		if _, rest, found := bytes.Cut(text, []byte("\n")); found {
			text = rest
		}
	}
	return strings.TrimSpace(string(text)), err
}
