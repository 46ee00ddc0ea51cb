package progress

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// Defaults of StreamConfig.
const (
	DefaultLogBytes = 16 << 20
	DefaultInterval = 50 * time.Millisecond
)

// batchLogBytes bounds the logs of one Batch; the wire format's messages must
// stay well below 16 MiB and clients expect about this size.
const batchLogBytes = 1 << 20

// StreamConfig adjusts a Stream; the zero value is good.
type StreamConfig struct {
	// LogBytes bounds the log output kept for readers; 0 means
	// DefaultLogBytes.
	LogBytes int
	// Interval is the least time between two batches of a reader, so that a
	// chatty step does not cost a message for each line; 0 means
	// DefaultInterval, a negative value none.
	Interval time.Duration
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// Stream is everything that one build says. Use NewStream.
type Stream struct {
	now      func() time.Time
	interval time.Duration

	mu     sync.Mutex
	tape   *tape
	closed bool
	// changed is closed and replaced when something is added.
	changed chan struct{}
	// open has the last event of each vertex that is running.
	open map[digest.Digest]*solver.VertexEvent
}

// NewStream returns an open stream.
func NewStream(cfg StreamConfig) *Stream {
	if cfg.LogBytes == 0 {
		cfg.LogBytes = DefaultLogBytes
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Stream{
		now:      cfg.Now,
		interval: cfg.Interval,
		tape:     newTape(cfg.LogBytes),
		changed:  make(chan struct{}),
		open:     map[digest.Digest]*solver.VertexEvent{},
	}
}

// Emit adds an event. It never blocks on readers. Events after Close, and
// statuses and logs that belong to no vertex, are dropped.
func (s *Stream) Emit(ev solver.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || homeless(ev) {
		return
	}
	s.add(ev)
	s.wake()
}

func homeless(ev solver.Event) bool {
	switch {
	case ev.Vertex != nil:
		return ev.Vertex.Digest == ""
	case ev.Status != nil:
		return ev.Status.Vertex == ""
	case ev.Log != nil:
		return ev.Log.Vertex == ""
	}
	return ev.Warning == nil
}

func (s *Stream) add(ev solver.Event) {
	if v := ev.Vertex; v != nil && v.Started != nil {
		if v.Completed == nil && !v.Cached {
			s.open[v.Digest] = v
		} else {
			delete(s.open, v.Digest)
		}
	}
	s.tape.add(ev)
}

func (s *Stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Close ends the stream: vertices that are still running are completed with
// the error "context canceled", and readers get io.EOF after what is left.
// Closing again does nothing.
func (s *Stream) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now := s.now()
	for _, v := range s.open {
		last := *v
		last.Completed = &now
		last.Error = context.Canceled.Error()
		s.tape.add(solver.Event{Vertex: &last})
	}
	s.open = nil
	s.closed = true
	s.wake()
}

// Reader returns a new reader at the beginning of the stream. It holds nothing
// that needs closing.
func (s *Stream) Reader() *Reader {
	return &Reader{stream: s}
}

// Batch is what changed since a reader's last batch. Vertices are sorted by
// their start, those not started first; statuses and logs by their time. The
// events are shared with other readers: do not change them.
type Batch struct {
	Vertices []*solver.VertexEvent
	Statuses []*solver.StatusEvent
	Logs     []*solver.LogEvent
	Warnings []*solver.WarningEvent
}

// Reader is one listener's place in a stream; for use by one goroutine.
type Reader struct {
	stream *Stream
	seq    uint64
	last   time.Time
	// logs did not fit in the last batch.
	logs []*solver.LogEvent
}

// Next waits until there is something new and returns it: at most about 1 MiB
// of logs, further ones follow in batches that hold nothing else. It returns
// io.EOF after the end of the stream, or the error of ctx.
func (r *Reader) Next(ctx context.Context) (*Batch, error) {
	if len(r.logs) > 0 {
		b := &Batch{}
		r.takeLogs(b)
		return b, nil
	}
	for {
		b, changed, closed := r.read()
		if b != nil {
			return b, nil
		}
		if closed {
			return nil, io.EOF
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-changed:
		}
		if err := r.pace(ctx); err != nil {
			return nil, err
		}
	}
}

// pace waits until the interval since the last batch is over or the stream
// ends.
func (r *Reader) pace(ctx context.Context) error {
	wait := r.stream.interval - time.Since(r.last)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		r.stream.mu.Lock()
		changed, closed := r.stream.changed, r.stream.closed
		r.stream.mu.Unlock()
		if closed {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return nil
		case <-changed:
		}
	}
}

// read returns what is new, or nil and a channel that closes at a change.
func (r *Reader) read() (b *Batch, changed <-chan struct{}, closed bool) {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.seq == s.tape.seq {
		return nil, s.changed, s.closed
	}
	b = &Batch{}
	s.tape.since(r.seq, func(ev solver.Event) {
		switch {
		case ev.Vertex != nil:
			b.Vertices = append(b.Vertices, ev.Vertex)
		case ev.Status != nil:
			b.Statuses = append(b.Statuses, ev.Status)
		case ev.Log != nil:
			r.logs = append(r.logs, ev.Log)
		case ev.Warning != nil:
			b.Warnings = append(b.Warnings, ev.Warning)
		}
	})
	r.seq = s.tape.seq
	r.last = time.Now()
	slices.SortStableFunc(b.Vertices, func(a, b *solver.VertexEvent) int { return compareStart(a.Started, b.Started) })
	slices.SortStableFunc(b.Statuses, func(a, b *solver.StatusEvent) int { return a.Timestamp.Compare(b.Timestamp) })
	slices.SortStableFunc(r.logs, func(a, b *solver.LogEvent) int { return a.Timestamp.Compare(b.Timestamp) })
	r.takeLogs(b)
	return b, nil, false
}

func compareStart(a, b *time.Time) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return a.Compare(*b)
}

// takeLogs moves waiting logs into b as far as they fit, at least one.
func (r *Reader) takeLogs(b *Batch) {
	size, n := 0, 0
	for n < len(r.logs) {
		size += len(r.logs[n].Data)
		if n > 0 && size > batchLogBytes {
			break
		}
		n++
	}
	b.Logs, r.logs = r.logs[:n:n], r.logs[n:]
	if len(r.logs) == 0 {
		r.logs = nil
	}
}
