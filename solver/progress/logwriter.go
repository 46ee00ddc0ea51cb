package progress

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kilnbuild/kiln/solver"
)

// LogLimits bound what one output stream of one step may say.
type LogLimits struct {
	// MaxSize is the number of bytes in all; negative means no limit.
	MaxSize int64
	// MaxSpeed is the number of bytes a second, counted in whole seconds from
	// the first; negative means no limit.
	MaxSpeed int64
	// Tail is the number of last bytes that are kept back once something was
	// clipped, for Flush.
	Tail int
}

// DefaultLogLimits are those that clients know.
func DefaultLogLimits() LogLimits {
	return LogLimits{MaxSize: 2 << 20, MaxSpeed: 200 << 10, Tail: 256 << 10}
}

// LogWriter turns the output of a process into log events, within limits. It
// is for use by one goroutine, as the copying of one pipe is.
type LogWriter struct {
	to     Emitter
	stream int
	limits LogLimits
	now    func() time.Time

	created  time.Time
	passed   int64
	clipping bool
	// tail has the last bytes written since the first were clipped; nil before.
	tail *ring
}

// NewLogWriter returns a writer for solver.Stdout or solver.Stderr. A nil now
// means time.Now.
func NewLogWriter(to Emitter, stream int, limits LogLimits, now func() time.Time) *LogWriter {
	if now == nil {
		now = time.Now
	}
	return &LogWriter{to: to, stream: stream, limits: limits, now: now, created: now()}
}

// Write passes p on as far as the limits allow; where they begin to bite, a
// notice takes the place of what is left out. It never fails, and p may be
// reused afterwards.
func (w *LogWriter) Write(p []byte) (int, error) {
	now := w.now()
	room, bySpeed := w.room(now)
	n := len(p)
	if room >= 0 && int64(n) > room {
		n = int(room)
		if w.tail == nil {
			w.tail = newRing(w.limits.Tail)
		}
	}
	if w.tail != nil {
		w.tail.write(p)
	}
	w.passed += int64(n)
	out := slices.Clone(p[:n])
	clipped := n < len(p)
	if clipped && !w.clipping {
		out = append(out, w.notice(bySpeed)...)
	}
	w.clipping = clipped
	w.emit(now, out)
	return len(p), nil
}

// room returns how many bytes may pass now, -1 for any number, and whether it
// is the speed that bounds them.
func (w *LogWriter) room(now time.Time) (n int64, bySpeed bool) {
	limit := int64(-1)
	if w.limits.MaxSpeed >= 0 {
		// A started second counts as a whole one.
		seconds := int64(now.Sub(w.created)/time.Second) + 1
		limit, bySpeed = seconds*w.limits.MaxSpeed, true
	}
	if w.limits.MaxSize >= 0 && (limit < 0 || limit > w.limits.MaxSize) {
		limit, bySpeed = w.limits.MaxSize, false
	}
	if limit < 0 {
		return -1, false
	}
	return max(0, limit-w.passed), bySpeed
}

func (w *LogWriter) notice(bySpeed bool) string {
	limit := formatBytes(w.limits.MaxSize)
	if bySpeed {
		limit = formatBytes(w.limits.MaxSpeed) + "/s"
	}
	return fmt.Sprintf("\n[output clipped, log limit %s reached]\n", limit)
}

// Flush passes on the last bytes of a clipped output, whatever the limits: call
// it when the step failed, because the reason tends to come last.
func (w *LogWriter) Flush() {
	if w.tail != nil {
		w.emit(w.now(), w.tail.bytes())
		w.tail = nil
	}
}

func (w *LogWriter) emit(now time.Time, data []byte) {
	if len(data) > 0 {
		w.to.Emit(solver.Event{Log: &solver.LogEvent{Timestamp: now, Stream: w.stream, Data: data}})
	}
}

// formatBytes prints 2097152 as "2MiB" and 1536 as "1.5KiB".
func formatBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v /= 1024
		u++
	}
	return strconv.FormatFloat(v, 'f', -1, 64) + units[u]
}

// ring keeps the last bytes written to it.
type ring struct {
	max  int
	data []byte
	// start is the place of the oldest byte once the ring is full.
	start int
}

func newRing(limit int) *ring { return &ring{max: limit} }

func (r *ring) write(p []byte) {
	if len(p) > r.max {
		p = p[len(p)-r.max:]
	}
	if grow := min(len(p), r.max-len(r.data)); grow > 0 {
		r.data = append(r.data, p[:grow]...)
		p = p[grow:]
	}
	for len(p) > 0 {
		n := copy(r.data[r.start:], p)
		p = p[n:]
		r.start = (r.start + n) % r.max
	}
}

func (r *ring) bytes() []byte {
	return append(slices.Clone(r.data[r.start:]), r.data[:r.start]...)
}
