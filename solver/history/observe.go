package history

import (
	"context"
	"errors"
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

// Ended stores a build and what it said. Faults are logged: the build itself
// has its result.
func (s *Store) Ended(ctx context.Context, rec *build.Record, events *progress.Reader) {
	r := convert(rec)
	err := s.store(ctx, r, rec, events)
	s.mu.Lock()
	delete(s.active, r.GetRef())
	s.mu.Unlock()
	if err == nil {
		s.finalizeLater(ctx, r.GetRef())
	}
	if err = errors.Join(err, s.expire(ctx)); err != nil {
		log.G(ctx).WithError(err).Errorf("history of build %s", r.GetRef())
	}
}

// store writes the blobs of a build and then its record.
func (s *Store) store(ctx context.Context, r *control.BuildHistoryRecord, rec *build.Record, events *progress.Reader) error {
	ref := r.GetRef()
	// A name that is used again is another build: what the old one left goes.
	if err := s.dropBlobs(ctx, ref); err != nil {
		return err
	}
	leased, err := s.lease(ctx, ref)
	if err != nil {
		return err
	}
	var faults []error
	if rec.Err != nil {
		r.ExternalError, err = s.writeError(leased, rec.Err)
		faults = append(faults, err)
	}
	for _, desc := range rec.Outputs {
		faults = append(faults, s.keepOutput(leased, desc))
	}
	faults = append(faults, s.writeLog(leased, r, events))
	s.changing.Lock()
	defer s.changing.Unlock()
	// A record without all of its blobs is better than none.
	return errors.Join(append(faults, s.put(r))...)
}

// writeError stores all of an error, with the details that the record leaves
// out.
func (s *Store) writeError(ctx context.Context, err error) (*control.Descriptor, error) {
	st := rpcerr.ToStatus(err)
	st.Details = append(st.Details, rpcerr.StackDetail())
	data, err := proto.Marshal(st)
	if err != nil {
		return nil, err
	}
	return s.writeBlob(ctx, mediaError, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
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
	if rec.Response != nil {
		out.ExporterResponse = rec.Response.Values
	}
	for i, desc := range rec.Outputs {
		if out.Result == nil {
			out.Result = &control.BuildResultInfo{Results: map[int64]*control.Descriptor{}}
		}
		out.Result.Results[int64(i)] = descriptor(desc)
		if i == 0 {
			// Clients from before there were several look here.
			out.Result.ResultDeprecated = out.Result.Results[0]
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
