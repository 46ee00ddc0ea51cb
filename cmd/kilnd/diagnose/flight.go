package diagnose

import (
	"net/http"
	"runtime/trace"
	"sync"
	"time"
)

// maxPeriod bounds how far back a flight recorder may look: it keeps all of it in memory.
const maxPeriod = 10 * time.Minute

// flight is Go's flight recorder: the last seconds of the execution trace, kept in memory, to be read when something
// odd has happened.
type flight struct {
	mu     sync.Mutex
	period time.Duration
	// recorder is nil while nothing is recorded.
	recorder *trace.FlightRecorder
}

// start begins to record.
func (f *flight) start(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recorder != nil {
		http.Error(w, "the flight recorder is already running", http.StatusConflict)
		return
	}
	r := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: f.period})
	if err := r.Start(); err != nil {
		http.Error(w, "start the flight recorder: "+err.Error(), http.StatusInternalServerError)
		return
	}
	f.recorder = r
}

// stop ends recording and forgets what was recorded.
func (f *flight) stop(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recorder == nil {
		http.Error(w, "the flight recorder is not running", http.StatusConflict)
		return
	}
	f.recorder.Stop()
	f.recorder = nil
}

// setPeriod says how much the next recording keeps.
func (f *flight) setPeriod(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recorder != nil {
		http.Error(w, "the flight recorder is running: stop it to change its period", http.StatusPreconditionFailed)
		return
	}
	period, err := time.ParseDuration(r.FormValue("period"))
	if err != nil || period <= 0 || period > maxPeriod {
		http.Error(w, "period: write a duration like 10s, at most "+maxPeriod.String(), http.StatusBadRequest)
		return
	}
	f.period = period
}

// read writes what is recorded, for go tool trace.
func (f *flight) read(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recorder == nil {
		http.Error(w, "the flight recorder is not running: POST /debug/flight/trace/start", http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="trace"`)
	if _, err := f.recorder.WriteTo(w); err != nil {
		http.Error(w, "read the flight recorder: "+err.Error(), http.StatusInternalServerError)
	}
}
