package display

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/kilnbuild/kiln/solver/progress"
)

// Mode is how a build is shown.
type Mode string

// The modes.
const (
	Auto    Mode = "auto"
	TTY     Mode = "tty"
	Plain   Mode = "plain"
	Quiet   Mode = "quiet"
	RawJSON Mode = "rawjson"
)

// Options of a Display.
type Options struct {
	// Out is where to show; for TTY a terminal.
	Out  io.Writer
	Mode Mode
	// Trace, if not nil, gets every batch as a line of JSON as well.
	Trace io.Writer
	// Getenv finds settings; nil: os.Getenv.
	Getenv func(string) string
	// Now tells the time; nil: time.Now.
	Now func() time.Time
}

// view is one way to show a build. Its methods are called from one goroutine.
type view interface {
	// update takes in what is new.
	update(b *progress.Batch) error
	// refresh brings what is shown up to date.
	refresh(now time.Time) error
	// close shows what is left.
	close(now time.Time) error
}

// Display shows one build. Use New.
type Display struct {
	in   chan *progress.Batch
	done chan struct{}
	once sync.Once
	now  func() time.Time
	view view
	log  *jsonView
	// err is the first failure to write; read after done.
	err error
}

// pace is how often a view is refreshed; refreshing on news is limited to it.
const pace = 100 * time.Millisecond

// New starts a display. TTY on something that is no terminal fails.
func New(opt Options) (*Display, error) {
	if opt.Getenv == nil {
		opt.Getenv = os.Getenv
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	v, err := newView(opt)
	if err != nil {
		return nil, err
	}
	// Room for some batches: a slow terminal must not stop the receiver.
	d := &Display{in: make(chan *progress.Batch, 64), done: make(chan struct{}), now: opt.Now, view: v}
	if opt.Trace != nil {
		d.log = newJSON(opt.Trace)
	}
	every := pace
	if ms, err := strconv.Atoi(opt.Getenv("TTY_DISPLAY_RATE")); err == nil && ms > 0 {
		every = time.Duration(ms) * time.Millisecond
	}
	go d.run(every)
	return d, nil
}

// newView chooses by the mode, the environment and whether Out is a terminal.
func newView(opt Options) (view, error) {
	mode := opt.Mode
	if m := opt.Getenv("BUILDKIT_PROGRESS"); m != "" && (mode == Auto || mode == "") {
		mode = Mode(m)
	}
	switch mode {
	case Auto, TTY, "":
		if f, ok := opt.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return newTTY(f, fileSize(f), settingsFrom(opt.Getenv), opt.Now), nil
		}
		if mode == TTY {
			return nil, errors.New("progress mode tty: the output is not a terminal")
		}
		fallthrough
	case Plain:
		return newPlain(opt.Out, opt.Getenv("PROGRESS_NO_TRUNC") == "0"), nil
	case RawJSON:
		return newJSON(opt.Out), nil
	case Quiet:
		return quietView{}, nil
	}
	return nil, fmt.Errorf("invalid progress mode %s (want auto, tty, plain, quiet or rawjson)", mode)
}

// fileSize asks a terminal for its size, each time anew: windows are resized.
func fileSize(f *os.File) func() (width, height int) {
	return func() (int, int) {
		w, h, err := term.GetSize(int(f.Fd()))
		if err != nil || w <= 0 || h <= 0 {
			return 80, 24
		}
		return w, h
	}
}

// Add shows a batch. It must not be called after Close.
func (d *Display) Add(b *progress.Batch) {
	d.in <- b
}

// Close shows the rest and returns the first error of showing. Closing again
// does nothing.
func (d *Display) Close() error {
	d.once.Do(func() { close(d.in) })
	<-d.done
	return d.err
}

// run owns the view. News are shown at once, but not more often than every so
// often; the ticker moves timers on when nothing is new.
func (d *Display) run(every time.Duration) {
	defer close(d.done)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var last time.Time
	for {
		select {
		case b, ok := <-d.in:
			if !ok {
				d.note(d.view.close(d.now()))
				return
			}
			d.note(d.view.update(b))
			if d.log != nil {
				d.note(d.log.update(b))
			}
			if now := d.now(); now.Sub(last) >= every {
				d.note(d.view.refresh(now))
				last = now
			}
		case <-ticker.C:
			last = d.now()
			d.note(d.view.refresh(last))
		}
	}
}

// note keeps the first error. The build goes on: what cannot be shown is
// built all the same.
func (d *Display) note(err error) {
	if d.err == nil {
		d.err = err
	}
}

// quietView shows nothing.
type quietView struct{}

func (quietView) update(*progress.Batch) error { return nil }

func (quietView) refresh(time.Time) error { return nil }

func (quietView) close(time.Time) error { return nil }
