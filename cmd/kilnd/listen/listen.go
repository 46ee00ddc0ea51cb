package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/plugin/unixsocket"
)

// Options apply to every address they can apply to.
type Options struct {
	// UID and GID own unix sockets made here; nil is the process's own.
	UID, GID *int
	// TLS is used on TCP; nil is plain text. On unix sockets it is ignored with a warning.
	TLS *tls.Config
	// Inherited returns the sockets that systemd passed in under a name, or with
	// "" those that nobody took yet; nil has none.
	Inherited func(name string) []net.Listener
	// Wrap, if set, is put around every socket, under TLS.
	Wrap func(l net.Listener, inherited bool) net.Listener
}

// wrap applies Wrap.
func (o *Options) wrap(l net.Listener, inherited bool) net.Listener {
	if o.Wrap == nil {
		return l
	}
	return o.Wrap(l, inherited)
}

// Open opens all addresses in order. The error matches errdefs.ErrInvalidArgument for an address that cannot be
// understood.
func Open(ctx context.Context, addresses []string, opts Options) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			listeners = nil
		}
	}()
	for _, address := range addresses {
		opened, err := open(ctx, address, &opts)
		if err != nil {
			return listeners, fmt.Errorf("listen on %q: %w", address, err)
		}
		listeners = append(listeners, opened...)
	}
	return listeners, nil
}

func open(ctx context.Context, address string, opts *Options) ([]net.Listener, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return nil, fmt.Errorf("address has no scheme; write unix:///path, tcp://host:port, fd:// or fd://name: %w", errdefs.ErrInvalidArgument)
	}
	switch scheme {
	case "unix":
		if opts.TLS != nil {
			log.G(ctx).Warnf("TLS is not used on %s", address)
		}
		l, err := openUnix(ctx, rest, opts)
		if err != nil {
			return nil, err
		}
		return []net.Listener{opts.wrap(l, false)}, nil
	case "tcp":
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", rest)
		if err != nil {
			return nil, err
		}
		l = opts.wrap(l, false)
		if opts.TLS == nil {
			if !local(l.Addr()) {
				log.G(ctx).Warnf("%s is open to everybody who can reach it: it has no TLS", address)
			}
			return []net.Listener{l}, nil
		}
		return []net.Listener{newTLSListener(ctx, l, opts.TLS)}, nil
	case "fd":
		return inherited(ctx, rest, opts)
	default:
		return nil, fmt.Errorf("unsupported scheme %q; use unix, tcp or fd: %w", scheme, errdefs.ErrInvalidArgument)
	}
}

// openUnix makes the socket and its directory. Nobody but the owner can connect before the owner and the mode are set.
func openUnix(ctx context.Context, path string, opts *Options) (net.Listener, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("socket path must be absolute: %w", errdefs.ErrInvalidArgument)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make socket directory: %w", err)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	l, err := unixsocket.Listen(ctx, path)
	if err != nil {
		return nil, err
	}
	uid, gid := os.Getuid(), os.Getgid()
	if opts.UID != nil {
		uid = *opts.UID
	}
	if opts.GID != nil {
		gid = *opts.GID
	}
	if err = os.Chown(path, uid, gid); err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("give socket to uid %d, gid %d: %w", uid, gid, err)
	}
	return l, nil
}

// probe is how long a living process may take to accept, which the kernel does for it.
const probe = time.Second

// removeStale removes what a dead process left at path, and nothing else than a socket.
func removeStale(ctx context.Context, path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("there is something else than a socket: %w", errdefs.ErrAlreadyExists)
	}
	dialer := net.Dialer{Timeout: probe}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another process serves it: %w", errdefs.ErrAlreadyExists)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("look for another process: %w", err)
	}
	return os.Remove(path)
}

// inherited returns the sockets from systemd: all that are left, or those of one name.
func inherited(ctx context.Context, name string, opts *Options) ([]net.Listener, error) {
	if strings.Trim(name, "0123456789") == "" && name != "" {
		return nil, fmt.Errorf("fd://%s is unsupported; sockets have names (FileDescriptorName= of their unit), not numbers: %w", name, errdefs.ErrInvalidArgument)
	}
	var listeners []net.Listener
	if opts.Inherited != nil {
		listeners = opts.Inherited(name)
	}
	for i, l := range listeners {
		l = opts.wrap(l, true)
		if opts.TLS != nil && l.Addr().Network() == "tcp" {
			l = newTLSListener(ctx, l, opts.TLS)
		}
		listeners[i] = l
	}
	switch {
	case len(listeners) > 0:
		return listeners, nil
	case name == "":
		return nil, fmt.Errorf("systemd passed no sockets; is the socket unit enabled?: %w", errdefs.ErrNotFound)
	default:
		return nil, fmt.Errorf("systemd passed no socket of this name; is its unit enabled, with FileDescriptorName=%s?: %w", name, errdefs.ErrNotFound)
	}
}

// local reports an address that only this machine reaches.
func local(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
