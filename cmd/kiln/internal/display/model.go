package display

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
)

// maxLine bounds a line that has no end, in bytes: it is shown in pieces.
const maxLine = 16 << 10

// interval is one stretch of work; a nil end is not over.
type interval struct {
	start time.Time
	end   *time.Time
}

// line is a line of output, without its end.
type line struct {
	// at is the time since the step started.
	at   time.Duration
	text string
}

// step is what is shown as one thing: a vertex or a group of vertices.
type step struct {
	name string
	// runs are disjoint and in order.
	runs     []interval
	cached   bool
	err      string
	statuses []*solver.StatusEvent
	warnings []*solver.WarningEvent
	tail     tail
	// partial is the begin of a line whose end has not come.
	partial   []byte
	partialAt time.Duration
	// members is set for groups.
	members map[digest.Digest]*solver.VertexEvent
	// shown is false for groups that only have weak members.
	shown bool
}

// started says whether the step ever ran.
func (s *step) started() bool { return len(s.runs) > 0 }

// ended returns when the step ended, nil while it runs or waits.
func (s *step) ended() *time.Time {
	if len(s.runs) == 0 {
		return nil
	}
	return s.runs[len(s.runs)-1].end
}

// running says whether the step is at work.
func (s *step) running() bool { return s.started() && s.ended() == nil }

// canceled says whether the step was broken off rather than failed.
func (s *step) canceled() bool { return strings.HasSuffix(s.err, context.Canceled.Error()) }

// failed says whether the step ended with an error of its own.
func (s *step) failed() bool { return s.err != "" && !s.canceled() }

// busy returns how long the step worked until now.
func (s *step) busy(now time.Time) time.Duration {
	var sum time.Duration
	for _, r := range s.runs {
		end := now
		if r.end != nil {
			end = *r.end
		}
		sum += max(0, end.Sub(r.start))
	}
	return sum
}

// model is what is known of a build.
type model struct {
	// steps are in the order in which they started.
	steps []*step
	// byID has steps by vertex or group id, started or not.
	byID map[digest.Digest]*step
	// onLine, if not nil, is told of each complete line.
	onLine func(*step, line)
	// begin is when the first step started, by the daemon's clock.
	begin *time.Time
}

// newModel returns the model of a build of which nothing is known.
func newModel() *model { return &model{byID: map[digest.Digest]*step{}} }

// apply brings in what is new.
func (m *model) apply(b *progress.Batch) {
	for _, v := range b.Vertices {
		m.vertex(v)
	}
	for _, st := range b.Statuses {
		if s := m.byID[st.Vertex]; s != nil && st.Started != nil {
			s.status(st)
		}
	}
	for _, w := range b.Warnings {
		if s := m.byID[w.Vertex]; s != nil {
			s.warnings = append(s.warnings, w)
		}
	}
	for _, l := range b.Logs {
		if s := m.byID[l.Vertex]; s != nil {
			m.log(s, l)
		}
	}
}

// vertex brings in an event of a vertex: a step of its own, or one of a
// group. A step takes its place in the order when it first shows.
func (m *model) vertex(v *solver.VertexEvent) {
	s := m.byID[v.Digest]
	if s == nil {
		s = m.newStep(v)
		m.byID[v.Digest] = s
	}
	before := s.started() && s.shown
	if s.members != nil {
		s.members[v.Digest] = v
		s.regroup()
	} else {
		// A vertex may be announced again, without its times, after it ran.
		if v.Started != nil || !s.started() {
			s.name, s.cached, s.err = v.Name, v.Cached, v.Error
		}
		s.ran(v.Started, v.Completed)
	}
	if s.started() && s.shown && !before {
		m.steps = append(m.steps, s)
	}
	if m.begin == nil && v.Started != nil {
		m.begin = v.Started
	}
	if s.ended() != nil {
		m.endLine(s)
	}
}

// newStep makes the step that shows a vertex: its own or its group's.
func (m *model) newStep(v *solver.VertexEvent) *step {
	if v.Group == nil {
		return &step{name: v.Name, shown: true}
	}
	id := digest.Digest("group:" + v.Group.ID)
	if g := m.byID[id]; g != nil {
		return g
	}
	g := &step{name: v.Group.Name, members: map[digest.Digest]*solver.VertexEvent{}}
	m.byID[id] = g
	return g
}

// regroup derives the state of a group from its members.
func (s *step) regroup() {
	s.cached, s.err = true, ""
	for _, v := range s.members {
		s.ran(v.Started, v.Completed)
		s.cached = s.cached && v.Cached
		if s.err == "" || strings.HasSuffix(s.err, context.Canceled.Error()) {
			if v.Error != "" {
				s.err = v.Error
			}
		}
		if v.Started != nil && (v.Group == nil || !v.Group.Weak) {
			s.shown = true
		}
	}
	if s.failed() {
		s.shown = true
	}
}

// ran notes a stretch of work. One with the same start replaces the earlier
// report of it; overlapping ones become one.
func (s *step) ran(start, end *time.Time) {
	if start == nil {
		return
	}
	runs := slices.DeleteFunc(slices.Clone(s.runs), func(r interval) bool { return r.start.Equal(*start) })
	runs = append(runs, interval{*start, end})
	slices.SortFunc(runs, func(a, b interval) int { return a.start.Compare(b.start) })
	merged := runs[:1]
	for _, r := range runs[1:] {
		last := &merged[len(merged)-1]
		switch {
		case last.end == nil:
		case r.start.After(*last.end):
			merged = append(merged, r)
		case r.end == nil || r.end.After(*last.end):
			last.end = r.end
		}
	}
	s.runs = merged
}

// status replaces an activity in its place, or adds it at the end.
func (s *step) status(st *solver.StatusEvent) {
	for i, old := range s.statuses {
		if old.ID == st.ID {
			s.statuses[i] = st
			return
		}
	}
	s.statuses = append(s.statuses, st)
}

// log cuts output into lines.
func (m *model) log(s *step, l *solver.LogEvent) {
	var at time.Duration
	if n := len(s.runs); n > 0 {
		at = max(0, l.Timestamp.Sub(s.runs[n-1].start))
	}
	for data := l.Data; len(data) > 0; {
		if len(s.partial) == 0 {
			s.partialAt = at
		}
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			s.partial = append(s.partial, data...)
			if len(s.partial) >= maxLine {
				m.endLine(s)
			}
			return
		}
		s.partial = append(s.partial, data[:i]...)
		data = data[i+1:]
		m.emit(s)
	}
}

// endLine ends a line that was left open.
func (m *model) endLine(s *step) {
	if len(s.partial) > 0 {
		m.emit(s)
	}
}

// emit ends the line that is open.
func (m *model) emit(s *step) {
	l := line{s.partialAt, string(bytes.TrimSuffix(s.partial, []byte{'\r'}))}
	s.partial = s.partial[:0]
	s.tail.add(l)
	if m.onLine != nil {
		m.onLine(s, l)
	}
}

// counts returns how many shown steps there are and how many have ended.
func (m *model) counts() (ended, total int) {
	seen := map[*step]bool{}
	for _, s := range m.byID {
		if !s.shown || seen[s] {
			continue
		}
		seen[s] = true
		total++
		if s.ended() != nil {
			ended++
		}
	}
	return ended, total
}
