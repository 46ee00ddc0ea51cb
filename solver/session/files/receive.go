package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// PacketStream is either end of a transfer. Send and Recv may be called from
// two goroutines, Abort from any.
type PacketStream interface {
	// Send sends one packet.
	Send(*fsutil.Packet) error
	// Recv waits for the next packet; io.EOF ends the stream.
	Recv() (*fsutil.Packet, error)
	// Abort makes pending and later calls fail.
	Abort()
}

// Handler decides what a receiver does.
type Handler interface {
	// Entry is called for each entry in path order. For regular files it says
	// whether the content is wanted.
	Entry(st *fsutil.Stat) (want bool, err error)
	// Data brings a piece of a wanted file; an empty one ends the file.
	// worker is below Workers and the same for all pieces of a file.
	Data(worker int, st *fsutil.Stat, data []byte) error
}

// Workers is how many goroutines call Handler.Data.
const Workers = 2

// queued is how many packets may wait for each worker.
const queued = 64

// Receive runs the receiving side of a transfer until all wanted contents
// have arrived, ctx ends, or either side fails; a failure aborts the stream.
func Receive(ctx context.Context, stream PacketStream, h Handler) error {
	stream = &lockedStream{PacketStream: stream}
	c := newCrew(ctx, stream)
	r := &receiver{stream: stream, handler: h, ctx: c.ctx, requests: newQueue()}
	for i := range r.work {
		r.work[i] = make(chan piece, queued)
		c.run(func() error { return r.write(i) })
	}
	c.run(r.sendRequests)
	c.run(func() error {
		defer r.requests.close()
		defer func() {
			for _, c := range r.work {
				close(c)
			}
		}()
		return r.read()
	})
	return c.wait()
}

type piece struct {
	id   uint32
	stat *fsutil.Stat
	data []byte
}

type receiver struct {
	stream   PacketStream
	handler  Handler
	ctx      context.Context //nolint:containedctx // lives as long as one call of Receive
	requests *queue
	work     [Workers]chan piece

	mu sync.Mutex
	// wanted has the files asked for and not yet complete.
	wanted map[uint32]*fsutil.Stat
	walked bool
}

// read is the only goroutine that receives.
func (r *receiver) read() error {
	r.wanted = map[uint32]*fsutil.Stat{}
	var check checker
	var next uint32
	for {
		p, err := r.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("receive files: %w", err)
		}
		switch p.GetType() {
		case fsutil.Packet_PACKET_STAT:
			if p.GetStat() == nil {
				err = r.endWalk()
				break
			}
			err = r.entry(&check, next, p.GetStat())
			next++
		case fsutil.Packet_PACKET_DATA:
			err = r.data(p.GetID(), p.GetData())
		case fsutil.Packet_PACKET_FIN:
			return r.finished()
		case fsutil.Packet_PACKET_ERR:
			return fmt.Errorf("error from sender: %.2000s: %w", p.GetData(), errPeer)
		default:
			err = fmt.Errorf("%w: unexpected packet type %d", errProtocol, p.GetType())
		}
		if err != nil {
			return err
		}
	}
}

func (r *receiver) entry(check *checker, id uint32, st *fsutil.Stat) error {
	if r.walked {
		return fmt.Errorf("%w: entry %.80q after the end of the walk", errProtocol, st.GetPath())
	}
	if err := check.check(st); err != nil {
		return err
	}
	want, err := r.handler.Entry(st)
	if err != nil {
		return err
	}
	if want && fs.FileMode(st.GetMode()).IsRegular() {
		r.mu.Lock()
		r.wanted[id] = st
		r.mu.Unlock()
		r.requests.push(id)
	}
	return nil
}

func (r *receiver) data(id uint32, data []byte) error {
	r.mu.Lock()
	st := r.wanted[id]
	r.mu.Unlock()
	if st == nil {
		return fmt.Errorf("%w: invalid file id %d", errProtocol, id)
	}
	select {
	case r.work[id%Workers] <- piece{id, st, data}:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

func (r *receiver) endWalk() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.walked = true
	if len(r.wanted) == 0 {
		r.requests.finish()
	}
	return nil
}

func (r *receiver) finished() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.walked || len(r.wanted) > 0 {
		return fmt.Errorf("%w: the sender stopped with %d files outstanding", errProtocol, len(r.wanted))
	}
	return nil
}

// write hands pieces to the handler.
func (r *receiver) write(worker int) error {
	for p := range r.work[worker] {
		if err := r.handler.Data(worker, p.stat, p.data); err != nil {
			return err
		}
		if len(p.data) > 0 {
			continue
		}
		r.mu.Lock()
		delete(r.wanted, p.id)
		done := r.walked && len(r.wanted) == 0
		r.mu.Unlock()
		if done {
			r.requests.finish()
		}
	}
	return nil
}

// sendRequests is the only goroutine that sends while the transfer runs. It
// has a queue of its own so that receiving never waits for sending: both
// peers would otherwise stand still with full windows.
func (r *receiver) sendRequests() error {
	for {
		ids, fin, ok := r.requests.take(r.ctx)
		if !ok {
			return nil
		}
		for _, id := range ids {
			if err := r.stream.Send(&fsutil.Packet{Type: fsutil.Packet_PACKET_REQ, ID: id}); err != nil {
				return fmt.Errorf("request file: %w", err)
			}
		}
		if fin {
			if err := r.stream.Send(&fsutil.Packet{Type: fsutil.Packet_PACKET_FIN}); err != nil {
				return fmt.Errorf("finish transfer: %w", err)
			}
			return nil
		}
	}
}
