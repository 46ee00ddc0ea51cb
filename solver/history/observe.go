package history

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/statuspb"
)

// maxMessage bounds one message of a log, in bytes.
const maxMessage = 16 << 20

// Started notes a running build.
func (s *Store) Started(rec *build.Record) {
	r := convert(rec)
	s.mu.Lock()
	s.active[r.GetRef()] = r
	s.mu.Unlock()
	s.tell(&control.BuildHistoryEvent{Type: control.BuildHistoryEventType_STARTED, Record: r})
}

// Ended stores a build and its log. Faults are logged: the build itself has
// its result.
func (s *Store) Ended(ctx context.Context, rec *build.Record, events *progress.Reader) {
	err := s.writeLog(ctx, rec.Request.ID, events)
	r := convert(rec)
	err = errors.Join(err, s.put(r))
	s.mu.Lock()
	delete(s.active, r.GetRef())
	s.mu.Unlock()
	if err = errors.Join(err, s.expire()); err != nil {
		log.G(ctx).WithError(err).Errorf("history of build %s", r.GetRef())
	}
}

// convert makes the wire's record.
func convert(rec *build.Record) *control.BuildHistoryRecord {
	out := &control.BuildHistoryRecord{
		Ref: rec.Request.ID, Frontend: rec.Request.Frontend, FrontendAttrs: rec.Request.Opts, CreatedAt: timestamppb.New(rec.Started),
		NumCachedSteps: int32(rec.Steps.Cached), NumTotalSteps: int32(rec.Steps.Total),
		NumCompletedSteps: int32(rec.Steps.Completed), NumWarnings: int32(rec.Steps.Warnings),
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

// writeLog stores what a build said; the file appears whole or not at all.
func (s *Store) writeLog(ctx context.Context, ref string, events *progress.Reader) error {
	f, err := os.CreateTemp(filepath.Join(s.cfg.Root, "logs"), ".new-*")
	if err != nil {
		return fmt.Errorf("write build log: %w", err)
	}
	defer os.Remove(f.Name())
	w := bufio.NewWriter(f)
	for {
		batch, err := events.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(fmt.Errorf("write build log: %w", err), f.Close())
		}
		if err := writeMessage(w, statuspb.FromBatch(batch)); err != nil {
			return errors.Join(fmt.Errorf("write build log: %w", err), f.Close())
		}
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("write build log: %w", err)
	}
	return os.Rename(f.Name(), s.logPath(ref))
}

func writeMessage(w io.Writer, m *control.StatusResponse) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(data)))); err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// Replay calls emit with the saved events of a build; errdefs NotFound if
// there are none.
func (s *Store) Replay(ctx context.Context, ref string, emit func(*control.StatusResponse) error) error {
	f, err := os.Open(s.logPath(ref))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("build log %s: %w", ref, errdefs.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("read build log: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for ctx.Err() == nil {
		m, err := readMessage(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read build log %s: %w", ref, err)
		}
		if err := emit(m); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func readMessage(r io.Reader) (*control.StatusResponse, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxMessage {
		return nil, fmt.Errorf("message of %d bytes is over the limit", n)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	m := &control.StatusResponse{}
	return m, proto.Unmarshal(data, m)
}

// expire removes records beyond both limits; pinned ones and those somebody
// follows stay.
func (s *Store) expire() error {
	list, err := s.all()
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(r *control.BuildHistoryRecord) bool { return r.GetPinned() })
	if len(list) <= s.cfg.MaxEntries {
		return nil
	}
	slices.SortFunc(list, func(a, b *control.BuildHistoryRecord) int {
		return b.GetCompletedAt().AsTime().Compare(a.GetCompletedAt().AsTime())
	})
	oldest := s.cfg.Now().Add(-s.cfg.MaxAge)
	var errs []error
	for _, r := range list[s.cfg.MaxEntries:] {
		s.mu.Lock()
		followed := s.listening[r.GetRef()] > 0
		s.mu.Unlock()
		if !followed && r.GetCompletedAt().AsTime().Before(oldest) {
			errs = append(errs, s.remove(r.GetRef()))
		}
	}
	return errors.Join(errs...)
}
