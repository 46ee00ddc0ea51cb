package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/pb/filesync"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// Output is where one exporter's result goes: a directory, or a stream.
type Output struct {
	// Dir takes files.
	Dir string
	// Delete removes what is in Dir and not in the result.
	Delete bool
	// Open returns a stream for the whole result; nil means Dir.
	Open func() (io.WriteCloser, error)
}

// Outputs takes results by exporter number.
type Outputs struct {
	filesync.UnimplementedFileSendServer
	outputs map[int]Output
}

// NewOutputs returns the service.
func NewOutputs(outputs map[int]Output) *Outputs { return &Outputs{outputs: outputs} }

// Register adds the service.
func (o *Outputs) Register(s *grpc.Server) { filesync.RegisterFileSendServer(s, o) }

// Headers of a result.
const (
	// headerExporter is the number of the exporter that sends.
	headerExporter = "buildkit-attachable-exporter-id"
	// headerMulti says that one transfer brings the files of all platforms;
	// otherwise each transfer would delete what the others brought.
	headerMulti = "buildkit-exporter-multi-platform"
)

// DiffCopy takes one result.
func (o *Outputs) DiffCopy(stream filesync.FileSend_DiffCopyServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	id := 0
	if v := md.Get(headerExporter); len(v) > 0 {
		var err error
		if id, err = strconv.Atoi(v[0]); err != nil {
			return fmt.Errorf("exporter id %q: %w", v[0], errdefs.ErrInvalidArgument)
		}
	}
	out, ok := o.outputs[id]
	if !ok {
		return fmt.Errorf("no output for exporter %d: %w", id, errdefs.ErrNotFound)
	}
	if out.Open != nil {
		return takeStream(stream, out)
	}
	if out.Delete && len(md.Get(headerMulti)) == 0 {
		return fmt.Errorf("output %s: mode=delete is not supported by this daemon: %w", out.Dir, errdefs.ErrNotImplemented)
	}
	return takeFiles(stream, out)
}

// takeStream writes one result into a file. An early end of the transfer is an
// error of the stream, so that half an archive is never taken for a whole.
func takeStream(stream filesync.FileSend_DiffCopyServer, out Output) error {
	w, err := out.Open()
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return w.Close()
		}
		if err == nil {
			_, err = w.Write(m.GetData())
		}
		if err != nil {
			return errors.Join(err, w.Close())
		}
	}
}

// takeFiles writes files into a directory: beside what is there, or in its
// place.
func takeFiles(stream filesync.FileSend_DiffCopyServer, out Output) error {
	if err := os.MkdirAll(out.Dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	var w *files.Writer
	m := &files.Mirror{KeepExtra: !out.Delete, Open: func() (*files.Writer, error) {
		var err error
		w, err = files.NewWriter(out.Dir, false)
		return w, err
	}}
	if out.Delete {
		var err error
		if m.Previous, err = listing(ctx, out.Dir); err != nil {
			return fmt.Errorf("list %s: %w", out.Dir, err)
		}
	}
	defer m.Close()
	defer func() {
		if w != nil {
			_ = w.Close()
		}
	}()
	if err := files.Receive(ctx, packets{stream, cancel}, m); err != nil {
		return err
	}
	_, _, err := m.Finish()
	return err
}

// listing lists what a directory holds.
func listing(ctx context.Context, dir string) (files.Listing, error) {
	tree, err := files.OpenDir(dir, files.Patterns{})
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	var all files.Listing
	err = tree.Walk(ctx, func(st *fsutil.Stat) error {
		all = append(all, st)
		return nil
	})
	return all, err
}
