package client

import (
	"context"
	"errors"
	"io"

	"github.com/kilnbuild/kiln/solver/pb/diagnose"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// Collect calls fn with the pieces of the files that the daemon tells of itself;
// pieces of one file follow each other. The error matches
// errdefs.ErrNotImplemented for a daemon that is not kilnd.
func (c *Client) Collect(ctx context.Context, fn func(name string, data []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := diagnose.NewDiagnoseClient(c.conn).Collect(ctx, &diagnose.CollectRequest{})
	if err != nil {
		return rpcerr.FromGRPC(err)
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return rpcerr.FromGRPC(err)
		}
		if err := fn(chunk.GetName(), chunk.GetData()); err != nil {
			return err
		}
	}
}
