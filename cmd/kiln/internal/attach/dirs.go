package attach

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/pb/filesync"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// Dirs offers local directories by name.
type Dirs struct {
	filesync.UnimplementedFileSyncServer
	dirs map[string]string
}

// NewDirs checks that the directories are there.
func NewDirs(dirs map[string]string) (*Dirs, error) {
	for name, dir := range dirs {
		fi, err := os.Stat(dir)
		if err != nil {
			return nil, fmt.Errorf("local directory %s=%s: %w", name, dir, err)
		}
		if !fi.IsDir() {
			return nil, fmt.Errorf("local directory %s=%s is not a directory", name, dir)
		}
	}
	return &Dirs{dirs: dirs}, nil
}

// Register adds the service.
func (d *Dirs) Register(s *grpc.Server) { filesync.RegisterFileSyncServer(s, d) }

// DiffCopy sends a directory. Owners are left out: they mean nothing on the
// other side, and a build must not depend on who runs it.
func (d *Dirs) DiffCopy(stream filesync.FileSync_DiffCopyServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	req, err := files.ParseRequest(md)
	if err != nil {
		return err
	}
	dir, ok := d.dirs[req.Dir]
	if !ok {
		return fmt.Errorf("no access allowed to dir %q: %w", req.Dir, errdefs.ErrNotFound)
	}
	tree, err := files.OpenDir(dir, req.Patterns)
	if err != nil {
		return err
	}
	defer tree.Close()
	tree.Map = func(st *fsutil.Stat) bool {
		st.Uid, st.Gid = 0, 0
		return true
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	return files.Send(ctx, packets{stream, cancel}, tree, nil)
}

// packetStream is what both directions of the service have in common.
type packetStream interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// packets sends and receives packets on a server's stream.
type packets struct {
	stream packetStream
	cancel func()
}

// Send sends a packet.
func (p packets) Send(m *fsutil.Packet) error { return p.stream.SendMsg(m) }

// Recv receives a packet.
func (p packets) Recv() (*fsutil.Packet, error) {
	m := &fsutil.Packet{}
	if err := p.stream.RecvMsg(m); err != nil {
		return nil, err
	}
	return m, nil
}

// Abort has nothing to cut: returning from the call ends the stream.
func (p packets) Abort() { p.cancel() }

// SharedKey identifies directories of this machine and user, so that the
// daemon can reuse what an earlier build transferred.
func SharedKey(dirs map[string]string) string {
	host, _ := os.Hostname()
	h := sha256.New()
	fmt.Fprintf(h, "%q %d", host, os.Getuid())
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		abs, err := filepath.Abs(dirs[name])
		if err != nil {
			abs = dirs[name]
		}
		fmt.Fprintf(h, " %q=%q", name, abs)
	}
	// The key travels in a header: no path, whatever its characters, does.
	return hex.EncodeToString(h.Sum(nil))
}
