package dockerfile

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// argEpoch is the build argument with the time to write into images.
const argEpoch = "SOURCE_DATE_EPOCH"

// Time implements lower.Resolver. A repository has the time of its commit, a
// download that of its last change or, if the server does not tell, of the
// newest file in the archive that it is.
func (r *request) Time(ctx context.Context, source compose.State, logName string) (*time.Time, error) {
	def, err := r.marshal(source)
	if err != nil {
		return nil, err
	}
	op, err := onlySource(def)
	if err != nil || op == nil {
		return nil, err
	}
	meta, err := r.bridge.ResolveSource(ctx, op, frontend.ResolveOptions{
		LogName: logName, CommitTime: strings.HasPrefix(op.Identifier, "git://"),
	})
	if err != nil {
		return nil, err
	}
	if meta.Git != nil && meta.Git.CommitTime != nil {
		return seconds(*meta.Git.CommitTime), nil
	}
	if meta.HTTP == nil {
		return nil, nil
	}
	if meta.HTTP.LastModified != nil {
		return seconds(*meta.HTTP.LastModified), nil
	}
	return r.newestFile(ctx, op)
}

func seconds(n int64) *time.Time {
	t := time.Unix(n, 0).UTC()
	return &t
}

// onlySource is the one source of a graph, nil if it has none or several.
func onlySource(def *pb.Definition) (*pb.SourceOp, error) {
	var found *pb.SourceOp
	for _, encoded := range def.GetDef() {
		var op pb.Op
		if err := proto.Unmarshal(encoded, &op); err != nil {
			return nil, fmt.Errorf("decode graph: %w", err)
		}
		source := op.GetSource()
		if source == nil {
			continue
		}
		if found != nil {
			return nil, nil
		}
		found = source
	}
	return found, nil
}

// newestFile downloads a file and looks into it. What is no archive has no
// time.
func (r *request) newestFile(ctx context.Context, op *pb.SourceOp) (*time.Time, error) {
	name := op.Attrs["http.filename"]
	if name == "" {
		return nil, nil
	}
	_, ref, err := r.solve(ctx, compose.Raw(op.Identifier, op.Attrs, compose.Info{Caps: []string{"source.http"}}))
	if err != nil || ref == nil {
		return nil, err
	}
	newest, err := newestIn(&pieceReader{read: func(offset int64) ([]byte, error) {
		return ref.ReadFile(ctx, name, offset, pieceSize)
	}})
	if err != nil {
		return nil, nil //nolint:nilerr // no archive, or one that cannot be read: no time either way
	}
	return newest, nil
}

// newestIn is the time of the newest regular file of an archive; nil if there
// is none.
func newestIn(in io.Reader) (*time.Time, error) {
	plain, err := decompressed(bufio.NewReader(in))
	if err != nil {
		return nil, err
	}
	archive := tar.NewReader(io.LimitReader(plain, maxUnpacked))
	var newest *time.Time
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return newest, nil
		}
		if err != nil {
			return nil, err
		}
		if made := header.ModTime.UTC(); header.Typeflag == tar.TypeReg && (newest == nil || made.After(*newest)) {
			newest = &made
		}
	}
}

// maxUnpacked bounds how much of an archive is looked at; archives may be
// bombs.
const maxUnpacked = 16 << 30

// decompressed goes by the first bytes: names of downloads tell nothing.
func decompressed(in *bufio.Reader) (io.Reader, error) {
	start, _ := in.Peek(6) // fewer bytes match nothing
	switch {
	case bytes.HasPrefix(start, []byte("\x1F\x8B\x08")):
		return gzip.NewReader(in)
	case bytes.HasPrefix(start, []byte("BZh")):
		return bzip2.NewReader(in), nil
	case bytes.HasPrefix(start, []byte("\xFD7zXZ\x00")):
		return xz.NewReader(in)
	case bytes.HasPrefix(start, []byte("\x28\xB5\x2F\xFD")):
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
	}
	return in, nil
}

// pieceReader reads a file piece by piece, so that its size does not matter.
type pieceReader struct {
	// read returns the piece at an offset; one shorter than pieceSize is the
	// last.
	read func(offset int64) ([]byte, error)
	at   int64
	left []byte
	done bool
}

// pieceSize is how much is asked for at a time.
const pieceSize = 1 << 20

// Read implements io.Reader.
func (r *pieceReader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		if r.done {
			return 0, io.EOF
		}
		piece, err := r.read(r.at)
		if err != nil {
			return 0, err
		}
		r.at += int64(len(piece))
		r.left, r.done = piece, len(piece) < pieceSize
		if len(piece) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}
