package git

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"time"
)

// watchdog calls a function when nobody kicks it for a while.
type watchdog struct {
	limit time.Duration
	timer *time.Timer
}

// newWatchdog starts a watchdog; one without a limit never bites.
func newWatchdog(limit time.Duration, bite func()) *watchdog {
	w := &watchdog{limit: limit}
	if limit > 0 {
		w.timer = time.AfterFunc(limit, bite)
	}
	return w
}

func (w *watchdog) kick() {
	if w.timer != nil {
		w.timer.Reset(w.limit)
	}
}

func (w *watchdog) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// errFull ends the copying of output that is too long.
var errFull = errors.New("too much output")

// bounded is a buffer of limited size.
type bounded struct {
	bytes.Buffer
	limit int
	watch *watchdog
	full  bool
}

// Write fails once the limit is passed, which ends the process by a broken pipe.
func (b *bounded) Write(p []byte) (int, error) {
	b.watch.kick()
	if b.Len()+len(p) > b.limit {
		b.full = true
		return 0, errFull
	}
	return b.Buffer.Write(p)
}

// maxLine bounds a line of complaints, in bytes; a longer one is broken.
const maxLine = 4 << 10

// counting are the beginnings of lines that say how a transfer went.
var counting = [][]byte{
	[]byte("remote: Enumerating objects"), []byte("remote: Counting objects"), []byte("remote: Compressing objects"), []byte("remote: Total "),
	[]byte("Receiving objects"), []byte("Resolving deltas"), []byte("Updating files"),
}

// stderr takes what a command says to people. Whole lines are logged and the
// last kept; what git overwrites in place, its counting, shows only that it is
// alive.
type stderr struct {
	redact func([]byte) []byte
	log    io.Writer
	watch  *watchdog
	line   []byte
	tail   []byte
}

// Write takes lines apart; it never fails.
func (s *stderr) Write(p []byte) (int, error) {
	s.watch.kick()
	for _, b := range p {
		switch {
		case b == '\r':
			s.line = s.line[:0]
			continue
		case len(s.line) >= maxLine:
			s.flush()
		}
		if s.line = append(s.line, b); b == '\n' {
			s.flush()
		}
	}
	return len(p), nil
}

// flush ends the line. Lines are redacted whole, so that no secret hides across
// the edge of two writes.
func (s *stderr) flush() {
	if len(s.line) == 0 {
		return
	}
	text := s.redact(s.line)
	s.line = s.line[:0]
	if s.log != nil && !slices.ContainsFunc(counting, func(c []byte) bool { return bytes.HasPrefix(text, c) }) {
		_, _ = s.log.Write(text)
	}
	s.tail = append(s.tail, text...)
	if n := len(s.tail) - maxStderr; n > 0 {
		s.tail = append(s.tail[:0], s.tail[n:]...)
	}
}
