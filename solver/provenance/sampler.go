package provenance

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/progress"
)

const (
	// sampleEvery is the least time between two samples of one build.
	sampleEvery = 2 * time.Second
	// maxSamples bounds those of one build, however long it takes: half of them
	// go when there are more, and the rest follow at twice the distance.
	maxSamples = 20
)

// Sampler watches how busy the machine is while builds run, for the provenance
// that tells it. All builds share the samples; without builds there are none,
// and no goroutine. It is a build.Observer and may be used concurrently.
type Sampler struct {
	read  func(time.Time) (*Sample, error)
	now   func() time.Time
	every time.Duration

	mu sync.Mutex
	// recordings by the ids of builds; changed while the lock is held. wake is
	// closed when the last one is gone.
	recordings map[string]*recording
	wake       chan struct{}
}

// recording has the samples of one build.
type recording struct {
	every   time.Duration
	last    time.Time
	samples []*Sample
}

var _ build.Observer = (*Sampler)(nil)

// NewSampler returns a Sampler of this machine.
func NewSampler() *Sampler {
	return newSampler(func(now time.Time) (*Sample, error) { return ReadSample("/proc", now) }, time.Now, sampleEvery)
}

func newSampler(read func(time.Time) (*Sample, error), now func() time.Time, every time.Duration) *Sampler {
	return &Sampler{read: read, now: now, every: every, recordings: map[string]*recording{}}
}

// Started implements build.Observer.
func (s *Sampler) Started(rec *build.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recordings[rec.Request.ID] = &recording{every: s.every, last: s.now()}
	if s.wake == nil {
		s.wake = make(chan struct{})
		go s.run(s.wake)
	}
}

// Ended implements build.Observer.
func (s *Sampler) Ended(_ context.Context, rec *build.Record, _ *progress.Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.recordings, rec.Request.ID)
	if len(s.recordings) == 0 && s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// run samples until stop is closed.
func (s *Sampler) run(stop chan struct{}) {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			s.sample()
		}
	}
}

// sample takes one for all builds whose turn it is.
func (s *Sampler) sample() {
	now := s.now()
	taken, err := s.read(now)
	if err != nil {
		log.L.WithError(err).Debug("provenance without a sample")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.recordings {
		// A ticker is never exact.
		if now.Sub(r.last) < r.every-s.every/2 {
			continue
		}
		r.last = now
		if r.samples = append(r.samples, taken); len(r.samples) > maxSamples {
			r.thin()
		}
	}
}

// thin drops every second sample.
func (r *recording) thin() {
	kept := r.samples[:0:0]
	for i, s := range r.samples {
		if i%2 == 0 {
			kept = append(kept, s)
		}
	}
	r.samples = kept
	r.every *= 2
}

// Samples returns a function that returns those of a running build so far, and
// one more of when it is called, which may be after the build.
func (s *Sampler) Samples(id string) func() []*Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	var so []*Sample
	if r := s.recordings[id]; r != nil {
		so = append(so, r.samples...)
	}
	return func() []*Sample {
		last, err := s.read(s.now())
		if err != nil {
			log.L.WithError(err).Debug("provenance without its last sample")
			return so
		}
		return append(so[:len(so):len(so)], last)
	}
}
