package progress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// fakeTime is a clock that only moves when told.
type fakeTime struct {
	mu  sync.Mutex
	now time.Time
}

func newFakeTime() *fakeTime { return &fakeTime{now: time.Unix(1_700_000_000, 0)} }

func (f *fakeTime) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeTime) add(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func vertex(name string, started, completed int) solver.Event {
	v := &solver.VertexEvent{Digest: digest.Digest(name), Name: name}
	if started > 0 {
		at := time.Unix(int64(started), 0)
		v.Started = &at
	}
	if completed > 0 {
		at := time.Unix(int64(completed), 0)
		v.Completed = &at
	}
	return solver.Event{Vertex: v}
}

func status(vertex, id string, current int64) solver.Event {
	return solver.Event{Status: &solver.StatusEvent{Vertex: digest.Digest(vertex), ID: id, Current: current}}
}

func logEvent(vertex, text string) solver.Event {
	return solver.Event{Log: &solver.LogEvent{Vertex: digest.Digest(vertex), Stream: solver.Stdout, Data: []byte(text)}}
}

func newTestStream(logBytes int) *Stream {
	return NewStream(StreamConfig{LogBytes: logBytes, Interval: -1})
}

// drain reads to the end of a closed stream and prints what came.
func drain(t *testing.T, r *Reader) (out []string) {
	t.Helper()
	for {
		b, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, show(b)...)
	}
}

func show(b *Batch) (out []string) {
	for _, v := range b.Vertices {
		s := "vertex " + v.Name
		if v.Started != nil {
			s += fmt.Sprint(" ", v.Started.Unix())
		}
		if v.Completed != nil {
			s += " completed"
		}
		if v.Error != "" {
			s += " " + v.Error
		}
		out = append(out, s)
	}
	for _, s := range b.Statuses {
		out = append(out, fmt.Sprint("status ", s.Vertex, " ", s.ID, " ", s.Current))
	}
	for _, l := range b.Logs {
		out = append(out, fmt.Sprint("log ", l.Vertex, " ", string(l.Data)))
	}
	for _, w := range b.Warnings {
		out = append(out, "warning "+string(w.Short))
	}
	return out
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestLateReaderGetsWhatMatters(t *testing.T) {
	s := newTestStream(0)
	for _, ev := range []solver.Event{
		vertex("a", 0, 0), vertex("b", 0, 0),
		vertex("a", 1, 0), status("a", "pull", 10), logEvent("a", "one"), status("a", "pull", 20), vertex("a", 1, 2),
		vertex("a", 3, 0), vertex("a", 3, 4), vertex("b", 4, 5),
		{Warning: &solver.WarningEvent{Short: []byte("careful")}},
		// These belong nowhere.
		status("", "x", 1), logEvent("", "x"), {},
	} {
		s.Emit(ev)
	}
	s.Close()
	s.Emit(vertex("late", 9, 0))
	expect(t, drain(t, s.Reader()),
		"vertex a", "vertex b", "vertex a 1 completed", "vertex a 3 completed", "vertex b 4 completed",
		"status a pull 20", "log a one", "warning careful")
}

func TestReaderGetsOnlyChanges(t *testing.T) {
	s := newTestStream(0)
	r := s.Reader()
	s.Emit(vertex("a", 1, 0))
	next := func() []string {
		b, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return show(b)
	}
	expect(t, next(), "vertex a 1")
	s.Emit(status("a", "x", 1))
	s.Emit(status("a", "x", 2))
	expect(t, next(), "status a x 2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCloseBreaksOffWhatRuns(t *testing.T) {
	s := newTestStream(0)
	s.Emit(vertex("never", 0, 0))
	s.Emit(vertex("ended", 1, 2))
	s.Emit(vertex("running", 1, 0))
	s.Emit(vertex("again", 1, 2))
	s.Emit(vertex("again", 3, 0))
	s.Close()
	s.Close()
	got := drain(t, s.Reader())
	text := strings.Join(got, "\n")
	if strings.Count(text, "context canceled") != 2 ||
		!strings.Contains(text, "vertex running 1 completed context canceled") ||
		!strings.Contains(text, "vertex again 3 completed context canceled") {
		t.Errorf("got %q", got)
	}
}

func TestLogsAreBounded(t *testing.T) {
	s := newTestStream(100_000)
	early := s.Reader()
	s.Emit(logEvent("a", "first"))
	if _, err := early.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		s.Emit(logEvent("a", "0123456789012345678901234567890123456789"))
	}
	s.Emit(logEvent("b", "last"))
	s.Close()
	if s.tape.logSize > 100_000 || len(s.tape.entries) > 5000 {
		t.Errorf("%d bytes in %d entries are kept", s.tape.logSize, len(s.tape.entries))
	}
	for name, r := range map[string]*Reader{"early": early, "late": s.Reader()} {
		got := drain(t, r)
		if got[0] != "log a "+lostText {
			t.Errorf("%s reader began with %q", name, got[0])
		}
		if got[len(got)-1] != "log b last" {
			t.Errorf("%s reader ended with %q", name, got[len(got)-1])
		}
	}
}

func TestBigBatchesAreSplit(t *testing.T) {
	s := newTestStream(0)
	s.Emit(vertex("a", 1, 2))
	for range 5 {
		s.Emit(logEvent("a", strings.Repeat("x", 500_000)))
	}
	s.Close()
	r := s.Reader()
	var sizes []int
	for i := 0; ; i++ {
		b, err := r.Next(t.Context())
		if err != nil {
			break
		}
		if (len(b.Vertices) > 0) != (i == 0) {
			t.Errorf("batch %d has %d vertices", i, len(b.Vertices))
		}
		sizes = append(sizes, len(b.Logs))
	}
	if fmt.Sprint(sizes) != "[2 2 1]" {
		t.Errorf("logs came as %v", sizes)
	}
}

func TestManyWritersManyReaders(t *testing.T) {
	s := NewStream(StreamConfig{Interval: time.Millisecond})
	var readers, writers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			n := 0
			for _, line := range drain(t, s.Reader()) {
				n += strings.Count(line, "log ")
			}
			if n != 400 {
				t.Errorf("a reader got %d logs", n)
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			for range 100 {
				s.Emit(logEvent(fmt.Sprint(i), "x"))
			}
		})
	}
	writers.Wait()
	s.Close()
	readers.Wait()
}

func TestHubReplays(t *testing.T) {
	h := NewHub()
	var early, late []solver.Event
	detach := h.Attach(func(ev solver.Event) { early = append(early, ev) })
	h.Emit(status("", "x", 1))
	h.Emit(logEvent("", "hello"))
	h.Emit(status("", "x", 2))
	h.Attach(func(ev solver.Event) { late = append(late, ev) })
	h.Emit(solver.Event{Warning: &solver.WarningEvent{}})
	detach()
	detach()
	h.Emit(status("", "x", 3))
	if len(early) != 4 || len(late) != 4 || late[0].Log == nil || late[1].Status.Current != 2 || late[3].Status.Current != 3 {
		t.Errorf("early got %d events, late %d: %+v", len(early), len(late), late)
	}
}

// collector is an Emitter that keeps what it gets.
type collector struct{ events []solver.Event }

func (c *collector) Emit(ev solver.Event) { c.events = append(c.events, ev) }

func (c *collector) logs() string {
	var b bytes.Buffer
	for _, ev := range c.events {
		b.Write(ev.Log.Data)
	}
	return b.String()
}

func TestStep(t *testing.T) {
	c, clock := &collector{}, newFakeTime()
	s := Reporter{To: c, Now: clock.Now}.Status("exporting layers", "")
	clock.add(time.Second)
	s.Progress(3, 7)
	s.Done()
	s.Done()
	if len(c.events) != 3 {
		t.Fatalf("%d events", len(c.events))
	}
	first, last := c.events[0].Status, c.events[2].Status
	if first.Completed != nil || first.Started == nil || last.ID != "exporting layers" ||
		last.Completed.Sub(*last.Started) != time.Second || last.Current != 3 || last.Total != 7 {
		t.Errorf("first %+v, last %+v", first, last)
	}
	Status(c, "x", "y").Done()
}

func TestCounterIsRateLimited(t *testing.T) {
	c, clock := &collector{}, newFakeTime()
	n := Reporter{To: c, Now: clock.Now}.Counter("sha256:x", "", 100_000)
	for range 1000 {
		clock.add(time.Millisecond)
		_, _ = n.Write(make([]byte, 100))
	}
	n.Done()
	n.Add(1)
	n.Done()
	if len(c.events) != 1+8+1 {
		t.Errorf("%d events for a second of work", len(c.events))
	}
	if last := c.events[len(c.events)-1].Status; last.Current != 100_000 || last.Total != 100_000 || last.Completed == nil {
		t.Errorf("last is %+v", last)
	}
	n = Reporter{To: c, Now: clock.Now}.Counter("y", "", 0)
	n.Set(5, 10)
	n.Done()
	if last := c.events[len(c.events)-1].Status; last.Current != 5 || last.Total != 10 {
		t.Errorf("last is %+v", last)
	}
}

func TestLogWriter(t *testing.T) {
	line := []byte(strings.Repeat("x", 99) + "\n")
	const clippedSize = "\n[output clipped, log limit 1KiB reached]\n"
	const clippedSpeed = "\n[output clipped, log limit 200B/s reached]\n"
	tests := map[string]struct {
		limits LogLimits
		write  func(w *LogWriter, clock *fakeTime)
		size   int
		end    string
	}{
		"off": {LogLimits{MaxSize: -1, MaxSpeed: -1}, func(w *LogWriter, _ *fakeTime) {
			for range 100 {
				_, _ = w.Write(line)
			}
		}, 10_000, "x\n"},
		"size": {LogLimits{MaxSize: 1024, MaxSpeed: -1}, func(w *LogWriter, _ *fakeTime) {
			for range 100 {
				_, _ = w.Write(line)
			}
		}, 1024 + len(clippedSize), clippedSize},
		"size and flush": {LogLimits{MaxSize: 1024, MaxSpeed: -1, Tail: 150}, func(w *LogWriter, _ *fakeTime) {
			for range 100 {
				_, _ = w.Write(line)
			}
			_, _ = w.Write([]byte("the reason\n"))
			w.Flush()
			w.Flush()
		}, 1024 + len(clippedSize) + 150, "the reason\n"},
		"speed": {LogLimits{MaxSize: 1 << 20, MaxSpeed: 200}, func(w *LogWriter, clock *fakeTime) {
			for range 5 {
				_, _ = w.Write(line) // 200 pass, then the notice
			}
			clock.add(time.Second)
			for range 3 {
				_, _ = w.Write(line) // 200 more pass, and another notice
			}
		}, 400 + 2*len(clippedSpeed), clippedSpeed},
		"nothing clipped, nothing to flush": {DefaultLogLimits(), func(w *LogWriter, _ *fakeTime) {
			_, _ = w.Write(line)
			_, _ = w.Write(nil)
			w.Flush()
		}, 100, "x\n"},
	}
	for name, test := range tests {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			c, clock := &collector{}, newFakeTime()
			w := NewLogWriter(c, solver.Stderr, test.limits, clock.Now)
			test.write(w, clock)
			got := c.logs()
			if len(got) != test.size || !strings.HasSuffix(got, test.end) {
				t.Errorf("got %d bytes ending in %q, want %d ending in %q", len(got), got[max(0, len(got)-60):], test.size, test.end)
			}
		})
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{2 << 20: "2MiB", 200 << 10: "200KiB", 1536: "1.5KiB", 7: "7B", 0: "0B"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
