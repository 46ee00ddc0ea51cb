package files

import (
	"context"
	"errors"
	"sync"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// errPeer marks errors that the peer reported itself.
var errPeer = errors.New("reported by peer")

// crew runs the goroutines of one transfer. The first failure, or the end of
// the parent context, tells the peer and cuts the stream, which wakes the
// goroutine that receives.
type crew struct {
	group  sync.WaitGroup
	ctx    context.Context //nolint:containedctx // lives as long as one transfer
	cancel context.CancelCauseFunc
	stop   func() bool
}

func newCrew(ctx context.Context, stream PacketStream) *crew {
	c := &crew{}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.stop = context.AfterFunc(c.ctx, func() {
		if cause := context.Cause(c.ctx); !errors.Is(cause, errPeer) {
			// A failure to tell the peer changes nothing.
			_ = stream.Send(&fsutil.Packet{Type: fsutil.Packet_PACKET_ERR, Data: []byte(cause.Error())})
		}
		stream.Abort()
	})
	return c
}

// run starts f; its failure ends the whole crew.
func (c *crew) run(f func() error) {
	c.group.Go(func() {
		if err := f(); err != nil {
			c.cancel(err)
		}
	})
}

// wait returns the first failure once all have returned.
func (c *crew) wait() error {
	c.group.Wait()
	c.stop()
	err := context.Cause(c.ctx)
	c.cancel(nil)
	return err
}

// lockedStream lets several goroutines send.
type lockedStream struct {
	PacketStream
	mu sync.Mutex
}

// Send sends one packet at a time.
func (s *lockedStream) Send(p *fsutil.Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.PacketStream.Send(p)
}
