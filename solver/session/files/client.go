package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/filesync"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session"
)

// Names of request metadata in the transfer protocol.
const (
	keyDirName   = "dir-name"
	keyInclude   = "include-patterns"
	keyExclude   = "exclude-patterns"
	keyFollow    = "followpaths"
	keyExporter  = "buildkit-attachable-exporter-id"
	keyMulti     = "buildkit-exporter-multi-platform"
	keyMDPrefix  = "exporter-md-"
	encodedPlace = "-encoded"
)

// Request metadata of the names above, on the serving side.
type Request struct {
	Dir string
	Patterns
}

// ParseRequest reads what a puller asks for from incoming request metadata.
func ParseRequest(md metadata.MD) (Request, error) {
	var r Request
	dir, err := decode(md, keyDirName)
	if err != nil {
		return r, err
	}
	if len(dir) > 0 {
		r.Dir = dir[0]
	}
	if r.Include, err = decode(md, keyInclude); err != nil {
		return r, err
	}
	if r.Exclude, err = decode(md, keyExclude); err != nil {
		return r, err
	}
	r.Follow, err = decode(md, keyFollow)
	return r, err
}

// Pull fetches a directory that a client offers under a name.
func Pull(ctx context.Context, s *session.Session, req Request, h Handler) error {
	if !s.Supports(filesync.FileSync_DiffCopy_FullMethodName) {
		return fmt.Errorf("no local sources enabled: %w", errdefs.ErrNotFound)
	}
	ctx, cancel := s.With(ctx)
	defer cancel()
	md := metadata.MD{}
	encode(md, keyDirName, []string{req.Dir})
	encode(md, keyInclude, req.Include)
	encode(md, keyExclude, req.Exclude)
	encode(md, keyFollow, req.Follow)
	stream, err := filesync.NewFileSyncClient(s.Conn()).DiffCopy(metadata.NewOutgoingContext(ctx, md))
	if err != nil {
		return errgrpc.ToNative(err)
	}
	return Receive(ctx, clientStream{stream, cancel}, h)
}

// clientStream adapts a gRPC client stream.
type clientStream struct {
	grpc.BidiStreamingClient[fsutil.Packet, fsutil.Packet]
	abort func()
}

// Recv receives a packet. Errors have kinds: that a client does not offer a
// directory is errdefs NotFound.
func (s clientStream) Recv() (*fsutil.Packet, error) {
	p, err := s.BidiStreamingClient.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		err = errgrpc.ToNative(err)
	}
	return p, err
}

// Abort cancels the call.
func (s clientStream) Abort() { s.abort() }

// Target says which receiver of a client a result is for.
type Target struct {
	// ID is the exporter's number in the request.
	ID int
	// Multi tells the client that one transfer brings all platforms.
	Multi bool
	// Response is the exporter's response, sent ahead as metadata.
	Response map[string]string
}

func (t Target) metadata() metadata.MD {
	md := metadata.Pairs(keyExporter, strconv.Itoa(t.ID))
	if t.Multi {
		md.Set(keyMulti, "1")
	}
	for k, v := range t.Response {
		encode(md, keyMDPrefix+k, []string{v})
	}
	return md
}

// sendStream carries packets on the method declared for bytes: both payloads
// share it, so the messages are typed at the call.
func sendStream(ctx context.Context, s *session.Session, t Target) (grpc.ClientStream, error) {
	if !s.Supports(filesync.FileSend_DiffCopy_FullMethodName) {
		return nil, fmt.Errorf("the client does not take results: %w", errdefs.ErrNotFound)
	}
	ctx = metadata.NewOutgoingContext(ctx, t.metadata())
	desc := &grpc.StreamDesc{StreamName: "DiffCopy", ServerStreams: true, ClientStreams: true}
	return s.Conn().NewStream(ctx, desc, filesync.FileSend_DiffCopy_FullMethodName)
}

// Push sends a tree to a client.
func Push(ctx context.Context, s *session.Session, t Target, tree Tree, progress func(n int)) error {
	ctx, cancel := s.With(ctx)
	defer cancel()
	stream, err := sendStream(ctx, s, t)
	if err != nil {
		return err
	}
	if err := Send(ctx, packetStream{stream, cancel}, tree, progress); err != nil {
		return err
	}
	// The client waits for our end, writes everything, and ends in turn.
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var p fsutil.Packet
		if err := stream.RecvMsg(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// packetStream sends and receives packets on a generic stream.
type packetStream struct {
	grpc.ClientStream
	abort func()
}

// Send sends a packet.
func (s packetStream) Send(p *fsutil.Packet) error { return s.SendMsg(p) }

// Recv receives a packet.
func (s packetStream) Recv() (*fsutil.Packet, error) {
	p := &fsutil.Packet{}
	if err := s.RecvMsg(p); err != nil {
		return nil, err
	}
	return p, nil
}

// Abort cancels the call.
func (s packetStream) Abort() { s.abort() }

// streamChunk is the size of pieces of a byte stream, in bytes; see chunkSize.
const streamChunk = chunkSize

// PushStream returns a writer whose bytes the client receives as one stream.
// Close waits until the client has taken everything. exists is true, and the
// writer nil, if the client answers that it has the result already.
func PushStream(ctx context.Context, s *session.Session, t Target) (io.WriteCloser, error) {
	ctx, cancel := s.With(ctx)
	stream, err := sendStream(ctx, s, t)
	if err != nil {
		cancel()
		return nil, err
	}
	return &streamWriter{stream: stream, cancel: cancel}, nil
}

type streamWriter struct {
	stream grpc.ClientStream
	cancel func()
	// pending is less than a piece that is not sent yet.
	pending []byte
	done    bool
	err     error
}

// Write sends p in pieces. Once the client has said that it has the result,
// the rest is dropped.
func (w *streamWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !w.done && w.err == nil {
		if len(w.pending) == 0 && len(p) >= streamChunk {
			w.send(p[:streamChunk])
			p = p[streamChunk:]
			continue
		}
		m := min(len(p), streamChunk-len(w.pending))
		w.pending = append(w.pending, p[:m]...)
		p = p[m:]
		if len(w.pending) == streamChunk {
			w.flush()
		}
	}
	if w.err != nil {
		return 0, w.err
	}
	return n, nil
}

// flush sends what is pending.
func (w *streamWriter) flush() {
	if len(w.pending) > 0 && !w.done && w.err == nil {
		w.send(w.pending)
	}
	w.pending = w.pending[:0]
}

// send sends one piece.
func (w *streamWriter) send(chunk []byte) {
	if err := w.stream.SendMsg(&filesync.BytesMessage{Data: chunk}); err != nil {
		w.finish()
	}
}

// finish reads the client's verdict.
func (w *streamWriter) finish() {
	w.done = true
	for {
		var m filesync.BytesMessage
		err := w.stream.RecvMsg(&m)
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) && status.Code(err) != codes.AlreadyExists {
			w.err = fmt.Errorf("send result to client: %w", err)
		}
		return
	}
}

// Close ends the stream and waits for the client. After the end of the
// stream's context it does not: the client must not take an orderly end for
// that of a whole result, and the transport may learn of both at once.
func (w *streamWriter) Close() error {
	defer w.cancel()
	if ctx := w.stream.Context(); ctx.Err() != nil && !w.done {
		return fmt.Errorf("send result to client: %w", context.Cause(ctx))
	}
	w.flush()
	if !w.done {
		if err := w.stream.CloseSend(); err != nil {
			w.err = err
		}
		w.finish()
	}
	return w.err
}

// encode adds values to md; if one is not plain ASCII, all are escaped and
// the metadata says so.
func encode(md metadata.MD, key string, values []string) {
	plain := true
	for _, v := range values {
		for i := range len(v) {
			plain = plain && v[i] >= 0x20 && v[i] < 0x7f
		}
	}
	if plain {
		md.Append(key, values...)
		return
	}
	md.Set(key+encodedPlace, "1")
	for _, v := range values {
		md.Append(key, url.QueryEscape(v))
	}
}

func decode(md metadata.MD, key string) ([]string, error) {
	values := md.Get(key)
	if v := md.Get(key + encodedPlace); len(v) == 0 || v[0] != "1" {
		return values, nil
	}
	out := make([]string, len(values))
	for i, v := range values {
		var err error
		if out[i], err = url.QueryUnescape(v); err != nil {
			return nil, fmt.Errorf("request metadata %s: %w", key, err)
		}
	}
	return out, nil
}
