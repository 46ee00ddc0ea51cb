package display

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
)

// Patience of the plain view.
const (
	// holdFloor is how long a running step keeps the floor while others wait.
	holdFloor = 5 * time.Second
	// quietFloor is after how much silence it loses the floor.
	quietFloor = time.Second
	// statusEvery and statusStep say when a counted activity is worth another
	// line: after a time, or after a part of the whole.
	statusEvery = 5 * time.Second
	statusStep  = 0.05
	// plainFailLines is how many lines of a failed step are repeated; the
	// others stand above.
	plainFailLines = 10
)

// said is what plainView has printed of a step.
type said struct {
	number   int
	lines    []line
	statuses map[string]*solver.StatusEvent
	warnings int
	// end is the ending that was printed last.
	end *time.Time
	// waiting is since when the step has something to say.
	waiting time.Time
}

// plainView prints lines that never change, for logs.
type plainView struct {
	w     io.Writer
	model *model
	said  map[*step]*said
	// trunc cuts names of steps, by PROGRESS_NO_TRUNC=0.
	trunc bool
	count int
	floor *step
	// since is when floor got it, heard when it last said something.
	since, heard time.Time
	any          bool
	out          bytes.Buffer
}

// newPlain returns a view that remembers lines until their step has its turn.
func newPlain(w io.Writer, trunc bool) *plainView {
	p := &plainView{w: w, model: newModel(), said: map[*step]*said{}, trunc: trunc}
	p.model.onLine = func(s *step, l line) {
		sd := p.of(s)
		sd.lines = append(sd.lines, l)
	}
	return p
}

// of returns what was said of a step, nothing at first.
func (p *plainView) of(s *step) *said {
	sd := p.said[s]
	if sd == nil {
		sd = &said{statuses: map[string]*solver.StatusEvent{}}
		p.said[s] = sd
	}
	return sd
}

// update takes in news without printing any.
func (p *plainView) update(b *progress.Batch) error {
	p.model.apply(b)
	return nil
}

// refresh prints what has its turn: endings first, then the step that has the
// floor, then whoever waits.
func (p *plainView) refresh(now time.Time) error {
	for _, s := range p.endings() {
		p.say(s, now)
	}
	if p.floor != nil && p.news(p.floor) {
		p.say(p.floor, now)
	}
	next := p.longestWaiting(now)
	if next != nil && (p.floor == nil || now.Sub(p.since) >= holdFloor || now.Sub(p.heard) >= quietFloor) {
		p.say(next, now)
	}
	return p.flush()
}

// close prints everything that is left.
func (p *plainView) close(now time.Time) error {
	for _, s := range p.model.steps {
		p.model.endLine(s)
	}
	for _, s := range p.endings() {
		p.say(s, now)
	}
	if p.floor != nil && p.news(p.floor) {
		p.say(p.floor, now)
	}
	for _, s := range p.model.steps {
		if p.news(s) {
			p.say(s, now)
		}
	}
	failedLogs(&p.out, p.model, plainFailLines, func(text string) string { return text })
	return p.flush()
}

// flush writes in one piece, so that lines of other programs do not get in
// between.
func (p *plainView) flush() error {
	_, err := p.w.Write(p.out.Bytes())
	p.out.Reset()
	return err
}

// endings returns the ended steps that have news, that on the floor first,
// then by the time of their end.
func (p *plainView) endings() []*step {
	var out []*step
	for _, s := range p.model.steps {
		if s.ended() != nil && p.news(s) {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b *step) int {
		switch p.floor {
		case a:
			return -1
		case b:
			return 1
		}
		return a.ended().Compare(*b.ended())
	})
	return out
}

// longestWaiting returns the running step that has waited longest to speak.
func (p *plainView) longestWaiting(now time.Time) *step {
	var first *step
	for _, s := range p.model.steps {
		if s == p.floor || !p.news(s) {
			continue
		}
		sd := p.of(s)
		if sd.waiting.IsZero() {
			sd.waiting = now
		}
		if first == nil || sd.waiting.Before(p.of(first).waiting) {
			first = s
		}
	}
	return first
}

// news says whether there is something to print about a step.
func (p *plainView) news(s *step) bool {
	sd := p.of(s)
	end := s.ended()
	if sd.number == 0 || len(sd.lines) > 0 || sd.warnings < len(s.warnings) {
		return true
	}
	if end != nil && (sd.end == nil || !sd.end.Equal(*end)) {
		return true
	}
	return slices.ContainsFunc(s.statuses, func(st *solver.StatusEvent) bool { return worthSaying(sd.statuses[st.ID], st) })
}

// worthSaying compares an activity with what was last said about it.
func worthSaying(old, st *solver.StatusEvent) bool {
	switch {
	case old == nil:
		return true
	case old == st:
		return false
	case st.Completed != nil:
		return old.Completed == nil || !old.Completed.Equal(*st.Completed)
	case st.Timestamp.Sub(old.Timestamp) >= statusEvery:
		return true
	}
	return st.Total > 0 && float64(st.Current-old.Current)/float64(st.Total) >= statusStep
}

// say gives a step the floor and prints its news.
func (p *plainView) say(s *step, now time.Time) {
	sd := p.of(s)
	p.takeFloor(s, sd, now)
	open := false
	for _, st := range s.statuses {
		open = open || st.Completed == nil
		if worthSaying(sd.statuses[st.ID], st) {
			sd.statuses[st.ID] = st
			p.sayStatus(sd.number, st)
		}
	}
	for ; sd.warnings < len(s.warnings); sd.warnings++ {
		fmt.Fprintf(&p.out, "#%d WARN: %s\n", sd.number, s.warnings[sd.warnings].Short)
	}
	for _, l := range sd.lines {
		fmt.Fprintf(&p.out, "#%d %s %s\n", sd.number, stamp(l.at), l.text)
	}
	sd.lines = nil
	sd.waiting = time.Time{}
	p.heard = now
	end := s.ended()
	if end == nil {
		return
	}
	p.floor = nil
	if sd.end == nil || !sd.end.Equal(*end) {
		sd.end = end
		p.sayEnd(s, sd, *end)
	}
}

// takeFloor prints the begin of a block if another step spoke last.
func (p *plainView) takeFloor(s *step, sd *said, now time.Time) {
	if sd.number == 0 {
		p.count++
		sd.number = p.count
	}
	if p.floor == s {
		return
	}
	if p.floor != nil {
		fmt.Fprintf(&p.out, "#%d ...\n", p.of(p.floor).number)
	}
	if p.any {
		p.out.WriteByte('\n')
	}
	p.any = true
	name := s.name
	if p.trunc && len(name) > 72 {
		name = name[:72] + "..."
	}
	fmt.Fprintf(&p.out, "#%d %s\n", sd.number, name)
	p.floor, p.since = s, now
}

// sayStatus prints an activity: how far it is, how long it took, whether it is
// over.
func (p *plainView) sayStatus(number int, st *solver.StatusEvent) {
	fmt.Fprintf(&p.out, "#%d %s", number, st.ID)
	if a := amount(st); a != "" {
		fmt.Fprintf(&p.out, " %s", a)
	}
	end := st.Timestamp
	if st.Completed != nil {
		end = *st.Completed
	}
	// Less than this is no time at all.
	if d := end.Sub(*st.Started).Seconds(); d > 0.01 {
		fmt.Fprintf(&p.out, " %.1fs", d)
	}
	if st.Completed != nil {
		p.out.WriteString(" done")
	}
	p.out.WriteByte('\n')
}

// sayEnd prints the line that ends a block. Scripts look for these words.
func (p *plainView) sayEnd(s *step, sd *said, end time.Time) {
	switch {
	case s.canceled():
		fmt.Fprintf(&p.out, "#%d CANCELED\n", sd.number)
	case s.err != "":
		fmt.Fprintf(&p.out, "#%d ERROR: %s\n", sd.number, s.err)
	case s.cached:
		fmt.Fprintf(&p.out, "#%d CACHED\n", sd.number)
	default:
		fmt.Fprintf(&p.out, "#%d DONE %.1fs\n", sd.number, s.busy(end).Seconds())
	}
}
