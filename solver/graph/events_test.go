package graph

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/solver"
)

// record is a sink that writes events down, times counted in calls of the clock.
type record struct {
	mu    sync.Mutex
	base  time.Time
	names map[string]string
	lines []string
}

func (r *record) sink(ev solver.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case ev.Vertex != nil:
		s := ev.Vertex.Name
		if ev.Vertex.Started != nil {
			s += fmt.Sprint(" ", ev.Vertex.Started.Sub(r.base).Nanoseconds())
		}
		if ev.Vertex.Completed != nil {
			s += fmt.Sprint("-", ev.Vertex.Completed.Sub(r.base).Nanoseconds())
		}
		if ev.Vertex.Cached {
			s += " cached"
		}
		if ev.Vertex.Error != "" {
			s += " " + ev.Vertex.Error
		}
		r.names[ev.Vertex.Digest.String()] = ev.Vertex.Name
		r.lines = append(r.lines, s)
	case ev.Status != nil:
		r.lines = append(r.lines, "status "+r.names[ev.Status.Vertex.String()]+" "+ev.Status.ID)
	case ev.Log != nil:
		r.lines = append(r.lines, "log "+r.names[ev.Log.Vertex.String()]+" "+string(ev.Log.Data))
	}
}

func TestEvents(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	base := now
	w := newWorld()
	s := New(Config{Cache: w, Now: func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		now = now.Add(1)
		return now
	}})
	says := func(id string) func(context.Context, solver.Env) error {
		return func(_ context.Context, env solver.Env) error {
			env.Emit(solver.Event{Status: &solver.StatusEvent{ID: id}})
			return nil
		}
	}
	const chain = "src:\nmid: src\ntop: mid"
	steps := []struct {
		graph, target string
		prepare       func(map[string]*solver.Vertex)
		want          string
	}{
		{chain, "top", nil, "src; mid; top; src 1; src 1-2; mid 3; mid 3-4; top 5; top 5-6"},
		// A hit at the top shows all below as cached.
		{chain, "top", nil, "src; mid; top; mid 7-7 cached; src 7-7 cached; top 7-8 cached"},
		// Only what is new runs; what it stands on is loaded, the rest cached.
		{chain + "\nnew: mid", "new", nil, "src; mid; new; src 9-9 cached; mid 9-10 cached; new 11; new 11-12"},
		// A source that says something while it finds its key shows that; it is
		// nevertheless not done.
		{chain, "top", func(vs map[string]*solver.Vertex) { vs["src"].Op.(*op).keysErr = says("resolve") },
			"src; mid; top; src 13; status src resolve; src 13-14; mid 15-15 cached; src 15-15 cached; top 15-16 cached"},
		{"x:\ny: x", "y", func(vs map[string]*solver.Vertex) { vs["x"].Op.(*op).runErr = says("pull") },
			"x; y; x 17; status x pull; x 17-18; y 19; y 19-20"},
		{"p:\nq: p | fail", "q", nil, "p; q; p 21; p 21-22; q 23; q 23-24 q failed"},
		{"k: | failkeys", "k", nil, "k; k 25; k 25-26 k has no keys"},
	}
	for i, st := range steps {
		r := &record{base: base, names: map[string]string{}}
		j, err := s.NewJob(fmt.Sprint(i), JobConfig{Sink: r.sink})
		if err != nil {
			t.Fatal(err)
		}
		vs := w.parse(st.graph)
		if st.prepare != nil {
			st.prepare(vs)
		}
		built, err := j.Build(t.Context(), solver.Edge{Vertex: vs[st.target]})
		if err == nil {
			_ = built.Result.Release(t.Context())
		}
		j.Close(t.Context())
		if got := strings.Join(r.lines, "; "); got != st.want {
			t.Errorf("step %d:\n got %s\nwant %s", i, got, st.want)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestLateJobIsTold joins a job to a vertex that is at work, under another
// vertex digest too.
func TestLateJobIsTold(t *testing.T) {
	w := newWorld()
	s := New(Config{Cache: w})
	said, goOn := make(chan struct{}), make(chan struct{})
	work := func(_ context.Context, env solver.Env) error {
		env.Emit(solver.Event{Log: &solver.LogEvent{Data: []byte("early")}})
		close(said)
		<-goOn
		env.Emit(solver.Event{Log: &solver.LogEvent{Data: []byte("late")}})
		return nil
	}
	// m1 and m2 differ in their source, but not in what they see of it.
	g1 := w.parse("s1: | volatile yield=same\nm1: s1~ | key=make")
	g2 := w.parse("s2: | volatile yield=same\nm2: s2~ | key=make")
	g1["m1"].Op.(*op).runErr = work
	g2["m2"].Op.(*op).runErr = func(context.Context, solver.Env) error { return errors.New("must not run") }

	var jobs sync.WaitGroup
	records := map[string]*record{}
	start := func(name string, v *solver.Vertex) {
		r := &record{names: map[string]string{}}
		records[name] = r
		j, err := s.NewJob(name, JobConfig{Sink: r.sink})
		if err != nil {
			t.Fatal(err)
		}
		jobs.Go(func() {
			built, err := j.Build(t.Context(), solver.Edge{Vertex: v})
			if err != nil {
				t.Error(err)
				return
			}
			_ = built.Result.Release(t.Context())
		})
	}
	start("first", g1["m1"])
	<-said
	start("same vertex", g1["m1"])
	start("same work", g2["m2"])
	for _, r := range records {
		for !strings.Contains(strings.Join(r.text(), ";"), "early") {
			time.Sleep(time.Millisecond)
		}
	}
	close(goOn)
	jobs.Wait()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, r := range records {
		v := "m1"
		if name == "same work" {
			v = "m2"
		}
		var logs []string
		for _, l := range r.text() {
			if strings.HasPrefix(l, "log") {
				logs = append(logs, l)
			}
		}
		if got, want := strings.Join(logs, "; "), fmt.Sprintf("log %s early; log %s late", v, v); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if l := w.leaked(); l != nil {
		t.Errorf("leaked: %q", l)
	}
}

func (r *record) text() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}
