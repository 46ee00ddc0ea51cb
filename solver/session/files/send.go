package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// Tree is what a sender sends.
type Tree interface {
	// Walk calls fn for every entry in path order, parents first.
	Walk(ctx context.Context, fn func(st *fsutil.Stat) error) error
	// Open opens a regular file of the walk by its path.
	Open(path string) (io.ReadCloser, error)
}

const (
	// chunkSize is the largest piece of a file in one packet, in bytes. With
	// its framing it fits into a buffer of 32 KiB, after which gRPC takes, and
	// clears, one of 1 MiB.
	chunkSize = 32<<10 - 64
	// readers is how many files are read at once.
	readers = 4
)

// Send runs the sending side of a transfer until the receiver has all it
// wants. progress, if not nil, is told of bytes sent from several goroutines.
func Send(ctx context.Context, stream PacketStream, tree Tree, progress func(n int)) error {
	stream = &lockedStream{PacketStream: stream}
	c := newCrew(ctx, stream)
	s := &sender{stream: stream, tree: tree, files: map[uint32]string{}, progress: progress, requests: newQueue()}
	c.run(func() error {
		defer s.requests.close()
		return s.read()
	})
	c.run(func() error { return s.walk(c.ctx) })
	c.run(func() error { return s.answer(c.ctx) })
	if err := c.wait(); err != nil {
		return err
	}
	return s.send(&fsutil.Packet{Type: fsutil.Packet_PACKET_FIN})
}

type sender struct {
	stream   PacketStream
	tree     Tree
	progress func(n int)
	requests *queue

	mu sync.Mutex
	// files has the regular files that may still be asked for.
	files map[uint32]string
}

func (s *sender) send(p *fsutil.Packet) error { return s.stream.Send(p) }

func (s *sender) walk(ctx context.Context) error {
	var id uint32
	err := s.tree.Walk(ctx, func(st *fsutil.Stat) error {
		// Of links as well: a receiver may want one without what it links to.
		if fs.FileMode(st.GetMode()).IsRegular() {
			s.mu.Lock()
			s.files[id] = st.GetPath()
			s.mu.Unlock()
		}
		id++
		return s.send(&fsutil.Packet{Type: fsutil.Packet_PACKET_STAT, Stat: st})
	})
	if err != nil {
		return fmt.Errorf("walk files: %w", err)
	}
	return s.send(&fsutil.Packet{Type: fsutil.Packet_PACKET_STAT})
}

// read takes requests until the receiver is satisfied.
func (s *sender) read() error {
	for {
		p, err := s.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("send files: %w", err)
		}
		switch p.GetType() {
		case fsutil.Packet_PACKET_REQ:
			s.requests.push(p.GetID())
		case fsutil.Packet_PACKET_FIN:
			return nil
		case fsutil.Packet_PACKET_ERR:
			return fmt.Errorf("error from receiver: %.2000s: %w", p.GetData(), errPeer)
		default:
			return fmt.Errorf("%w: unexpected packet type %d", errProtocol, p.GetType())
		}
	}
}

// answer reads requested files, some at once.
func (s *sender) answer(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for {
		ids, _, ok := s.requests.take(ctx)
		if !ok {
			return group.Wait()
		}
		for _, id := range ids {
			s.mu.Lock()
			path, known := s.files[id]
			delete(s.files, id)
			s.mu.Unlock()
			if !known {
				return errors.Join(fmt.Errorf("%w: invalid file id %d", errProtocol, id), group.Wait())
			}
			group.Go(func() error { return s.sendFile(ctx, id, path) })
		}
	}
}

// buffers are reused between files.
var buffers = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func (s *sender) sendFile(ctx context.Context, id uint32, path string) error {
	// An unreadable file is sent as an empty one, as all peers do: it may have
	// vanished since the walk.
	if f, err := s.tree.Open(path); err == nil {
		defer f.Close()
		buf := buffers.Get().(*[chunkSize]byte)
		defer buffers.Put(buf)
		for ctx.Err() == nil {
			n, err := io.ReadFull(f, buf[:])
			if n > 0 {
				if err := s.send(&fsutil.Packet{Type: fsutil.Packet_PACKET_DATA, ID: id, Data: buf[:n]}); err != nil {
					return err
				}
				if s.progress != nil {
					s.progress(n)
				}
			}
			if err != nil {
				break
			}
		}
	}
	return s.send(&fsutil.Packet{Type: fsutil.Packet_PACKET_DATA, ID: id})
}
