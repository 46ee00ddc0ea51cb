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
	"github.com/kilnbuild/kiln/solver/session/files"
)

// Output is where one exporter's result goes: a directory, or a stream.
type Output struct {
	// Dir takes files.
	Dir string
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

// headerExporter names the exporter that sends.
const headerExporter = "buildkit-attachable-exporter-id"

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
	return takeFiles(stream, out.Dir)
}

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

// takeFiles merges files into a directory.
func takeFiles(stream filesync.FileSend_DiffCopyServer, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	var w *files.Writer
	m := &files.Mirror{KeepExtra: true, Open: func() (*files.Writer, error) {
		var err error
		w, err = files.NewWriter(dir, false)
		return w, err
	}}
	defer m.Close()
	defer func() {
		if w != nil {
			w.Close()
		}
	}()
	if err := files.Receive(ctx, packets{stream, cancel}, m); err != nil {
		return err
	}
	_, _, err := m.Finish()
	return err
}
