package display

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/morikuni/aec"

	"github.com/kilnbuild/kiln/solver/progress"
)

// ttyView redraws the state of the build in place.
type ttyView struct {
	w      io.Writer
	screen *screen
	model  *model
	set    settings
	size   func() (width, height int)
	now    func() time.Time
	begun  time.Time
	// skew is what the daemon's clock lags behind ours.
	skew    time.Duration
	skewSet bool
}

// newTTY returns a view for a terminal whose size is asked for at each frame.
func newTTY(w io.Writer, size func() (int, int), set settings, now func() time.Time) *ttyView {
	return &ttyView{w: w, screen: &screen{w: w}, model: newModel(), set: set, size: size, now: now, begun: now()}
}

// update takes in news. The first start tells how the daemon's clock and ours
// compare: the times of a remote daemon are shown by ours.
func (t *ttyView) update(b *progress.Batch) error {
	t.model.apply(b)
	if !t.skewSet && t.model.begin != nil {
		t.skew, t.skewSet = t.now().Sub(*t.model.begin), true
	}
	return nil
}

// refresh draws a frame that leaves the last row of the screen to the cursor.
func (t *ttyView) refresh(now time.Time) error {
	width, height := t.size()
	return t.screen.draw(t.frame(now, width, height-1, false), width)
}

// close draws every step once more, however many there are, and then the logs
// of those that failed.
func (t *ttyView) close(now time.Time) error {
	for _, s := range t.model.steps {
		t.model.endLine(s)
	}
	width, height := t.size()
	if len(t.model.steps) > 0 {
		if err := t.screen.end(t.frame(now, width, height-1, true), width); err != nil {
			return err
		}
	}
	failedLogs(t.w, t.model, tailLines, plainText)
	return nil
}

// row is one line of a frame.
type row struct {
	text  string
	style aec.ANSI
}

// block is what a frame shows of one step.
type block struct {
	rows []row
	logs []row
	// running blocks are shown before others when there is little room.
	running bool
}

// frame lays out the screen: at most height rows, unless all is set.
func (t *ttyView) frame(now time.Time, width, height int, all bool) []row {
	there := now.Add(-t.skew)
	blocks := make([]block, 0, len(t.model.steps))
	for _, s := range t.model.steps {
		blocks = append(blocks, t.block(s, there, width))
	}
	rows := []row{{text: t.header(now, width, all)}}
	if all {
		for _, b := range blocks {
			rows = append(rows, b.rows...)
		}
		return rows
	}
	return append(rows, fit(blocks, max(0, height-1))...)
}

// header tells how long the build runs and how many steps have ended.
func (t *ttyView) header(now time.Time, width int, all bool) string {
	ended, total := t.model.counts()
	text := fmt.Sprintf("[+] Building %.1fs (%d/%d)", now.Sub(t.begun).Seconds(), ended, total)
	if all && ended > 0 && ended == total {
		text += " FINISHED"
	}
	return cut(text, width)
}

// fit chooses what of the blocks goes into a number of rows: first what is
// running, then what ended last, then the output of what is running.
func fit(blocks []block, room int) []row {
	keep := make([]int, len(blocks))
	give := func(i, n int) {
		n = min(n, room)
		keep[i], room = n, room-n
	}
	for i, b := range blocks {
		if b.running {
			give(i, len(b.rows))
		}
	}
	for i := len(blocks) - 1; i >= 0; i-- {
		if !blocks[i].running {
			give(i, len(blocks[i].rows))
		}
	}
	var rows []row
	for i, b := range blocks {
		rows = append(rows, b.rows[:keep[i]]...)
		if keep[i] < len(b.rows) || len(b.logs) > room {
			continue
		}
		rows = append(rows, b.logs...)
		room -= len(b.logs)
	}
	return rows
}

// block lays out one step. Colours mark what is over; what runs is plain.
func (t *ttyView) block(s *step, now time.Time, width int) block {
	b := block{running: s.running()}
	name, style := strings.ReplaceAll(s.name, "\t", " "), aec.ANSI(nil)
	if !b.running {
		style = t.set.run
	}
	switch {
	case s.canceled():
		name, style = "CANCELED "+name, t.set.cancel
	case s.failed():
		name, style = "ERROR "+name, t.set.fail
	case s.cached:
		name = "CACHED " + name
	}
	b.rows = append(b.rows, row{timed(" => "+name, "", s.busy(now), width), style})
	for _, st := range s.statuses {
		end, style := now, aec.ANSI(nil)
		if st.Completed != nil {
			end, style = *st.Completed, t.set.run
		}
		b.rows = append(b.rows, row{timed(" => => "+st.ID, amount(st), end.Sub(*st.Started), width), style})
	}
	for _, w := range s.warnings {
		b.rows = append(b.rows, row{timed(" => WARN: "+string(w.Short), "", s.busy(now), width), t.set.warn})
	}
	if b.running {
		for _, text := range s.output(t.set.logLines) {
			b.logs = append(b.logs, row{cut(" => => # "+text, width), t.set.faint})
		}
	}
	return b
}

// output returns the last lines as a terminal would show them.
func (s *step) output(n int) []string {
	var out []string
	for _, l := range s.tail.last(n) {
		out = append(out, plainText(l.text))
	}
	if len(s.partial) > 0 {
		out = append(out, plainText(string(s.partial)))
		out = out[max(0, len(out)-n):]
	}
	return out
}

// timed fills a row with a name on the left and a time on the right. The
// amount gives way to the name, the name to the time.
func timed(name, amount string, d time.Duration, width int) string {
	name = plainText(name)
	if d < 50*time.Millisecond {
		d = 0
	}
	right := fmt.Sprintf(" %.1fs", d.Seconds())
	// The last column stays free: some terminals wrap after filling it.
	room := width - 1 - len(right)
	if room < 8 {
		return cut(name, width-1)
	}
	if amount != "" && room-len(amount) > 20 {
		name = cut(name, room-len(amount)-1) + " " + amount
	}
	name = cut(name, room)
	return name + strings.Repeat(" ", room-columns(name)) + right
}
