package display

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
)

// script feeds a view from text. Each line is "SECONDS VERB [STEP] ARGS":
//
//	start STEP NAME         the step starts
//	again STEP              it starts once more
//	end STEP                it ends well
//	cached STEP NAME        it was there
//	fail STEP TEXT          it ends with an error
//	group STEP GROUP weak|strong NAME   the step belongs to a group
//	status STEP CURRENT TOTAL SINCE open|done ID
//	warn STEP TEXT
//	log STEP "TEXT"         a Go string
//	refresh, close
type script struct {
	t     *testing.T
	view  view
	begin time.Time
	steps map[string]*solver.VertexEvent
}

func newScript(t *testing.T, v view) *script {
	return &script{t: t, view: v, begin: scriptBegin, steps: map[string]*solver.VertexEvent{}}
}

var scriptBegin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (s *script) run(text string) {
	s.t.Helper()
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l == "" || l[0] == '#' {
			continue
		}
		if err := s.line(l); err != nil {
			s.t.Fatalf("%s: %v", l, err)
		}
	}
}

func (s *script) line(l string) error {
	f := strings.SplitN(l, " ", 4)
	f = append(f, "", "", "")
	now := s.at(f[0])
	switch f[1] {
	case "refresh":
		return s.view.refresh(now)
	case "close":
		return s.view.close(now)
	}
	b := &progress.Batch{}
	v := s.vertex(f[2])
	switch f[1] {
	case "start":
		v.Name, v.Started = f[3], &now
	case "again":
		v.Started, v.Completed = &now, nil
	case "end":
		v.Completed = &now
	case "cached":
		v.Name, v.Started, v.Completed, v.Cached = f[3], &now, &now, true
	case "fail":
		v.Completed, v.Error = &now, f[3]
	case "group":
		g := strings.SplitN(f[3], " ", 3)
		v.Group = &solver.ProgressGroup{ID: g[0], Weak: g[1] == "weak", Name: g[2]}
		return nil
	case "status":
		b.Statuses = append(b.Statuses, s.status(v, now, strings.SplitN(f[3], " ", 5)))
	case "warn":
		b.Warnings = append(b.Warnings, &solver.WarningEvent{Vertex: v.Digest, Short: []byte(f[3])})
	case "log":
		text, err := strconv.Unquote(f[3])
		if err != nil {
			return err
		}
		b.Logs = append(b.Logs, &solver.LogEvent{Vertex: v.Digest, Timestamp: now, Stream: 1, Data: []byte(text)})
	default:
		return fmt.Errorf("unknown verb %s", f[1])
	}
	if b.Statuses == nil && b.Warnings == nil && b.Logs == nil {
		c := *v
		b.Vertices = append(b.Vertices, &c)
	}
	return s.view.update(b)
}

func (s *script) at(seconds string) time.Time {
	sec, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.begin.Add(time.Duration(sec*1e3) * time.Millisecond)
}

func (s *script) vertex(id string) *solver.VertexEvent {
	v := s.steps[id]
	if v == nil {
		v = &solver.VertexEvent{Digest: digest.FromString(id)}
		s.steps[id] = v
	}
	return v
}

func (s *script) status(v *solver.VertexEvent, now time.Time, f []string) *solver.StatusEvent {
	current, _ := strconv.ParseInt(f[0], 10, 64)
	total, _ := strconv.ParseInt(f[1], 10, 64)
	started := s.at(f[2])
	st := &solver.StatusEvent{Vertex: v.Digest, ID: f[4], Current: current, Total: total, Timestamp: now, Started: &started}
	if f[3] == "done" {
		st.Completed = &now
	}
	return st
}
