package diagnose

import (
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/solver/pb/diagnose"
)

// chunkSize is how much one message carries.
const chunkSize = 1 << 20

// Register offers reports to clients of server.
func (d *Diagnoser) Register(server grpc.ServiceRegistrar) {
	diagnose.RegisterDiagnoseServer(server, d)
}

// Collect implements the Diagnose service. A second report at a time is refused: making one stops the process for
// moments, and clients could do so for ever.
func (d *Diagnoser) Collect(_ *diagnose.CollectRequest, stream diagnose.Diagnose_CollectServer) error {
	if !d.reporting.TryLock() {
		return errdefs.ErrUnavailable.WithMessage("another report is being made: try again")
	}
	defer d.reporting.Unlock()
	for _, p := range d.parts() {
		data := p.render(stream.Context())
		for first := true; first || len(data) > 0; first = false {
			n := min(chunkSize, len(data))
			if err := stream.Send(&diagnose.Chunk{Name: p.name, Data: data[:n]}); err != nil {
				return err
			}
			data = data[n:]
		}
	}
	return nil
}
