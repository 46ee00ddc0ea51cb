package history

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/statuspb"
)

// maxMessage bounds one message of a log, in bytes.
const maxMessage = 16 << 20

// steps counts the vertices of a log, each once.
type steps struct {
	total, cached, completed map[string]struct{}
	warnings                 int
}

func newSteps() *steps {
	return &steps{total: map[string]struct{}{}, cached: map[string]struct{}{}, completed: map[string]struct{}{}}
}

func (c *steps) add(m *control.StatusResponse) {
	for _, v := range m.GetVertexes() {
		c.total[v.GetDigest()] = struct{}{}
		if v.GetCached() {
			c.cached[v.GetDigest()] = struct{}{}
		}
		// One that failed is completed, too: it is not waited for any more.
		if v.GetCompleted() != nil {
			c.completed[v.GetDigest()] = struct{}{}
		}
	}
	c.warnings += len(m.GetWarnings())
}

// writeLog stores what a build said, and counts its steps for rec.
func (s *Store) writeLog(ctx context.Context, rec *control.BuildHistoryRecord, events *progress.Reader) (err error) {
	count := newSteps()
	rec.Logs, err = s.writeBlob(ctx, mediaLog, func(to io.Writer) error {
		w := bufio.NewWriter(to)
		for {
			batch, err := events.Next(ctx)
			if errors.Is(err, io.EOF) {
				return w.Flush()
			}
			if err != nil {
				return err
			}
			m := statuspb.FromBatch(batch)
			count.add(m)
			if err := writeMessage(w, m); err != nil {
				return err
			}
		}
	})
	rec.NumTotalSteps, rec.NumCachedSteps = int32(len(count.total)), int32(len(count.cached))
	rec.NumCompletedSteps, rec.NumWarnings = int32(len(count.completed)), int32(count.warnings)
	return err
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
	if err := s.settle(ctx, ref); err != nil {
		return err
	}
	rec, err := s.get(ref)
	if err != nil {
		return err
	}
	if rec.GetLogs() == nil {
		return fmt.Errorf("build log %s: %w", ref, errdefs.ErrNotFound)
	}
	at, err := s.cfg.Content.ReaderAt(s.own(ctx), ocispecs.Descriptor{Digest: digest.Digest(rec.GetLogs().GetDigest()), Size: rec.GetLogs().GetSize()})
	if err != nil {
		return fmt.Errorf("read build log %s: %w", ref, err)
	}
	defer at.Close()
	r := bufio.NewReader(content.NewReader(at))
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
