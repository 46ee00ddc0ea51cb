package trace

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

const (
	// backlog is how many batches wait for the exporter; more are dropped.
	backlog = 1024
	// gather is how long the first of a group of batches waits for others.
	gather = time.Second
	// uploadWithin bounds one upload.
	uploadWithin = 30 * time.Second
)

// forwarder hands spans to an exporter from a goroutine of its own.
type forwarder struct {
	to    otlptrace.Client
	fault func(error)
	queue chan []*tracepb.ResourceSpans
	// hurry is closed when the gathering is to end, done when all is sent.
	hurry, done chan struct{}
	once        sync.Once

	mu      sync.Mutex
	closed  bool
	dropped int
	failing bool
}

// newForwarder starts the goroutine; close ends it. ctx gives values only.
func newForwarder(ctx context.Context, to otlptrace.Client, fault func(error)) *forwarder {
	if fault == nil {
		fault = func(error) {}
	}
	f := &forwarder{
		to: to, fault: fault, queue: make(chan []*tracepb.ResourceSpans, backlog),
		hurry: make(chan struct{}), done: make(chan struct{}),
	}
	go f.run(context.WithoutCancel(ctx))
	return f
}

// add queues spans; it never waits.
func (f *forwarder) add(spans []*tracepb.ResourceSpans) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	select {
	case f.queue <- spans:
	default:
		f.dropped++
	}
}

// close sends what is queued and ends the exporter.
func (f *forwarder) close(ctx context.Context) error {
	f.once.Do(func() {
		f.mu.Lock()
		f.closed = true
		f.mu.Unlock()
		close(f.hurry)
		close(f.queue)
	})
	select {
	case <-f.done:
	case <-ctx.Done():
		return fmt.Errorf("export traces: %w", context.Cause(ctx))
	}
	return f.to.Stop(ctx)
}

func (f *forwarder) run(ctx context.Context) {
	defer close(f.done)
	for spans := range f.queue {
		select {
		case <-time.After(gather):
		case <-f.hurry:
		}
		for n := len(f.queue); n > 0; n-- {
			spans = append(spans[:len(spans):len(spans)], <-f.queue...)
		}
		f.upload(ctx, spans)
	}
}

func (f *forwarder) upload(ctx context.Context, spans []*tracepb.ResourceSpans) {
	ctx, cancel := context.WithTimeout(ctx, uploadWithin)
	defer cancel()
	err := f.to.UploadTraces(ctx, spans)
	f.mu.Lock()
	dropped, first := f.dropped, err != nil && !f.failing
	f.dropped, f.failing = 0, err != nil
	f.mu.Unlock()
	// A collector that is down is told of once.
	if first {
		f.fault(fmt.Errorf("export traces: %w", err))
	}
	if dropped > 0 {
		f.fault(fmt.Errorf("export traces: %d batches of spans were dropped: the collector is slow", dropped))
	}
}
