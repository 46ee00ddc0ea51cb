package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver/pb/control"
)

// finalizer adds the trace to one record.
type finalizer struct {
	// hurry ends the wait for late spans.
	hurry func()
	// done is closed when the record is final.
	done chan struct{}
}

// finalizeLater adds the trace that ctx belongs to, which is being recorded, when
// it is complete.
func (s *Store) finalizeLater(ctx context.Context, ref string) {
	if s.cfg.Traces == nil {
		return
	}
	hurry := make(chan struct{})
	f := &finalizer{hurry: sync.OnceFunc(func() { close(hurry) }), done: make(chan struct{})}
	s.mu.Lock()
	s.finalizers[ref] = f
	s.finalizing.Add(1)
	if s.closing {
		f.hurry()
	}
	s.mu.Unlock()
	go func() {
		defer s.finalizing.Done()
		select {
		case <-time.After(s.cfg.FinalizeAfter):
		case <-hurry:
		}
		if err := s.addTrace(ctx, ref); err != nil && !errors.Is(err, os.ErrNotExist) {
			log.G(ctx).WithError(err).Errorf("trace of build %s", ref)
		}
		s.mu.Lock()
		if s.finalizers[ref] == f {
			delete(s.finalizers, ref)
		}
		s.mu.Unlock()
		close(f.done)
	}()
}

// finalize has the trace of a build added now and returns when it is.
func (s *Store) finalize(ctx context.Context, ref string) error {
	if err := s.settle(ctx, ref); err != nil {
		return err
	}
	s.mu.Lock()
	f := s.finalizers[ref]
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	f.hurry()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("finalize build record: %w", context.Cause(ctx))
	}
}

func (s *Store) addTrace(ctx context.Context, ref string) error {
	data, err := s.cfg.Traces.Take(ctx)
	if err != nil || data == nil {
		return err
	}
	if _, err := s.get(ref); err != nil {
		return err // deleted meanwhile
	}
	leased, err := s.lease(ctx, ref)
	if err != nil {
		return err
	}
	desc, err := s.writeBlob(leased, mediaTrace, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	return s.change(ref, func(rec *control.BuildHistoryRecord) { rec.Trace = desc })
}
