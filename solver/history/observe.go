package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// Started notes a running build.
func (s *Store) Started(rec *build.Record) {
	r := convert(rec)
	s.mu.Lock()
	s.active[r.GetRef()] = r
	s.mu.Unlock()
	s.tell(&control.BuildHistoryEvent{Type: control.BuildHistoryEventType_STARTED, Record: r})
}

// Ended stores a build and what it said. Writing takes a while on a slow disk,
// and the client waits for its build: it goes on in the background, and whoever
// asks for records waits for it. Faults are logged: the build itself has its
// result.
func (s *Store) Ended(ctx context.Context, rec *build.Record, events *progress.Reader) {
	ctx = context.WithoutCancel(ctx)
	r := convert(rec)
	// What must not be late: the build still holds its outputs, and the trace
	// is being recorded.
	leased, err := s.begin(ctx, r.GetRef())
	if err == nil {
		err = s.keepOutputs(leased, rec)
	}
	whole := wholeError(rec.Err)
	if s.cfg.Traces != nil {
		s.cfg.Traces.Record(ctx)
	}
	done := s.pend(r.GetRef())
	go func() {
		defer done()
		if leased != nil {
			err = errors.Join(err, s.store(leased, r, &ended{whole, rec.Predicates, events}))
		}
		s.mu.Lock()
		delete(s.active, r.GetRef())
		s.mu.Unlock()
		s.finalizeLater(ctx, r.GetRef())
		if err = errors.Join(err, s.expire(ctx)); err != nil {
			log.G(ctx).WithError(err).Errorf("history of build %s", r.GetRef())
		}
	}()
}

// begin returns ctx under the empty lease of a record.
func (s *Store) begin(ctx context.Context, ref string) (context.Context, error) {
	if err := s.settle(ctx, ref); err != nil {
		return nil, err
	}
	// A name that is used again is another build: what the old one left goes.
	if err := s.dropBlobs(ctx, ref); err != nil {
		return nil, err
	}
	return s.lease(ctx, ref)
}

func (s *Store) keepOutputs(ctx context.Context, rec *build.Record) error {
	var errs []error
	for _, desc := range rec.Outputs {
		errs = append(errs, s.keepOutput(ctx, desc))
	}
	return errors.Join(errs...)
}

// ended is what a build leaves to be stored.
type ended struct {
	// whole is its error, nil for none.
	whole      []byte
	predicates []build.Predicate
	events     *progress.Reader
}

// store writes the blobs of a build and then its record. A record without all
// of its blobs is better than none.
func (s *Store) store(ctx context.Context, r *control.BuildHistoryRecord, e *ended) error {
	var faults []error
	if e.whole != nil {
		var err error
		r.ExternalError, err = s.writeBlob(ctx, mediaError, func(w io.Writer) error {
			_, err := w.Write(e.whole)
			return err
		})
		faults = append(faults, err)
	}
	faults = append(faults, s.writePredicates(ctx, r, e.predicates), s.writeLog(ctx, r, e.events))
	s.changing.Lock()
	defer s.changing.Unlock()
	return errors.Join(append(faults, s.put(r))...)
}

// wholeError is all of an error, with the details that the record leaves out;
// nil for none.
func wholeError(err error) []byte {
	if err == nil {
		return nil
	}
	st := rpcerr.ToStatus(err)
	st.Details = append(st.Details, rpcerr.StackDetail())
	data, err := proto.Marshal(st)
	if err != nil {
		return nil
	}
	return data
}

// pend notes that a record is being written, until done.
func (s *Store) pend(ref string) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{})
	s.pending[ref] = c
	return func() {
		s.mu.Lock()
		delete(s.pending, ref)
		s.mu.Unlock()
		close(c)
	}
}

// settle waits until the record of ref, all for none, is written as far as its
// build had ended before the call.
func (s *Store) settle(ctx context.Context, ref string) error {
	s.mu.Lock()
	var waits []chan struct{}
	for id, c := range s.pending {
		if ref == "" || ref == id {
			waits = append(waits, c)
		}
	}
	s.mu.Unlock()
	for _, c := range waits {
		select {
		case <-c:
		case <-ctx.Done():
			return fmt.Errorf("wait for build record: %w", context.Cause(ctx))
		}
	}
	return nil
}

// convert makes the wire's record.
func convert(rec *build.Record) *control.BuildHistoryRecord {
	out := &control.BuildHistoryRecord{
		Ref: rec.Request.ID, Frontend: rec.Request.Frontend, FrontendAttrs: rec.Request.Opts, CreatedAt: timestamppb.New(rec.Started),
	}
	for _, e := range rec.Request.Exporters {
		out.Exporters = append(out.Exporters, &control.Exporter{Type: e.Type, Attrs: e.Attrs})
	}
	if !rec.Completed.IsZero() {
		out.CompletedAt = timestamppb.New(rec.Completed)
	}
	if rec.Err != nil {
		out.Error = rpcerr.ToStatus(rec.Err)
		out.Error.Details = nil
	}
	out.ExporterResponse = response(rec)
	for i, desc := range rec.Outputs {
		info := result(out, "")
		if info.Results == nil {
			info.Results = map[int64]*control.Descriptor{}
		}
		info.Results[int64(i)] = descriptor(desc)
		if i == 0 {
			// Clients from before there were several look here.
			info.ResultDeprecated = info.Results[0]
		}
	}
	return out
}

func descriptor(d ocispecs.Descriptor) *control.Descriptor {
	return &control.Descriptor{MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size, Annotations: d.Annotations}
}

// expire removes records beyond both limits, and those whose log is gone;
// pinned ones stay, and those that somebody follows do until he leaves.
func (s *Store) expire(ctx context.Context) error {
	list, err := s.all()
	if err != nil {
		return err
	}
	var errs []error
	list = slices.DeleteFunc(list, func(r *control.BuildHistoryRecord) bool {
		if lost := s.lost(ctx, r); lost {
			errs = append(errs, s.remove(ctx, r.GetRef()))
			return true
		}
		return r.GetPinned()
	})
	if len(list) <= s.cfg.MaxEntries {
		return errors.Join(errs...)
	}
	slices.SortFunc(list, func(a, b *control.BuildHistoryRecord) int {
		return b.GetCompletedAt().AsTime().Compare(a.GetCompletedAt().AsTime())
	})
	oldest := s.cfg.Now().Add(-s.cfg.MaxAge)
	for _, r := range list[s.cfg.MaxEntries:] {
		s.mu.Lock()
		followed := s.listening[r.GetRef()] > 0
		s.mu.Unlock()
		if !followed && r.GetCompletedAt().AsTime().Before(oldest) {
			errs = append(errs, s.remove(ctx, r.GetRef()))
		}
	}
	return errors.Join(errs...)
}

// lost reports a record whose log is not in the store any more.
func (s *Store) lost(ctx context.Context, r *control.BuildHistoryRecord) bool {
	if r.GetLogs() == nil {
		return false
	}
	_, err := s.cfg.Content.Info(s.own(ctx), digest.Digest(r.GetLogs().GetDigest()))
	return errdefs.IsNotFound(err)
}
