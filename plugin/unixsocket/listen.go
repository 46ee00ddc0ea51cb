package unixsocket

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"github.com/containerd/errdefs"
)

// MaxPath is how many bytes the path of a socket may have: the kernel's room
// for it, without the zero at the end.
const MaxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// Listen makes a socket with mode 0600. Errors are errdefs InvalidArgument for
// a path that is too long, and those of the system.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > MaxPath {
		return nil, fmt.Errorf("socket path %s has %d bytes, but at most %d are possible: choose a shorter directory: %w",
			path, len(path), MaxPath, errdefs.ErrInvalidArgument)
	}
	private := net.ListenConfig{Control: ownerOnly}
	return private.Listen(ctx, "unix", path)
}

// ownerOnly sets the mode of the descriptor, which becomes that of the file: there is no moment with another one.
func ownerOnly(_, _ string, conn syscall.RawConn) error {
	var err error
	if cerr := conn.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); cerr != nil {
		return cerr
	}
	return err
}
