package sidecar

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// How a connection that was lost is made again. A restart of containerd takes a second or two.
const (
	firstDelay = 50 * time.Millisecond
	maxDelay   = time.Second
	dialWait   = 3 * time.Second
	// retryWait is how long a call waits for a new attempt after it found that the last one had failed: long enough for a
	// containerd that is back, and not much for one that is not.
	retryWait = 250 * time.Millisecond
)

// socketPath reads the address of a containerd: a path, or one with the scheme unix.
func socketPath(address string) (string, error) {
	path := strings.TrimPrefix(address, "unix://")
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("containerd address %q: write unix:// and the absolute path of its socket: %w",
			address, errdefs.ErrInvalidArgument)
	}
	return path, nil
}

// connection is a gRPC connection whose failures are explained.
type connection struct {
	*grpc.ClientConn
	absent *unavailable
}

// connect prepares a connection; nothing is sent before the first call. It is made again whenever it is lost.
func connect(path string) (*connection, error) {
	delays := backoff.DefaultConfig
	delays.BaseDelay, delays.MaxDelay = firstDelay, maxDelay
	conn, err := grpc.NewClient("passthrough:///"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: delays, MinConnectTimeout: dialWait}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize), grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", path, err)
	}
	return &connection{conn, &unavailable{path: path}}, nil
}

// unavailable says in plain words when a call did not reach the containerd. The kind of the error stays.
type unavailable struct {
	path string
	// offer is where the containerd calls back; empty if it does not. It is set before the first build.
	offer string
}

func (u *unavailable) explain(err error) error {
	if status.Code(err) != codes.Unavailable {
		return err
	}
	text := status.Convert(err).Message()
	if u.offer != "" && strings.Contains(text, u.offer) {
		return status.Errorf(codes.Unavailable, "containerd at %s does not reach kiln's snapshotter at %s, which this process serves (try again): %s",
			u.path, u.offer, text)
	}
	// Only the transport's own failures: containerd says Unavailable too, of a blob that somebody else is writing.
	for _, sign := range []string{"connection error", "error reading from server", "transport is closing", "error while dialing", "closing transport"} {
		if strings.Contains(strings.ToLower(text), sign) {
			return status.Errorf(codes.Unavailable, "containerd at %s does not answer (it may have been restarted; try again): %s", u.path, text)
		}
	}
	return err
}

// back reports whether a call that was never sent, for want of a connection, is to be made again since there is one now.
// gRPC by itself fails calls until its pause between two attempts is over, though the containerd may be back.
func (c *connection) back(ctx context.Context, err error) bool {
	if status.Code(err) != codes.Unavailable || !strings.Contains(strings.ToLower(status.Convert(err).Message()), "error while dialing") {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, retryWait)
	defer cancel()
	c.ResetConnectBackoff()
	for state := c.GetState(); state != connectivity.Ready; state = c.GetState() {
		c.Connect()
		if !c.WaitForStateChange(ctx, state) {
			return false
		}
	}
	return true
}

// Invoke implements grpc.ClientConnInterface.
func (c *connection) Invoke(ctx context.Context, method string, req, reply any, opts ...grpc.CallOption) error {
	err := c.ClientConn.Invoke(ctx, method, req, reply, opts...)
	if c.back(ctx, err) {
		err = c.ClientConn.Invoke(ctx, method, req, reply, opts...)
	}
	return c.absent.explain(err)
}

// NewStream implements grpc.ClientConnInterface.
func (c *connection) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.ClientConn.NewStream(ctx, desc, method, opts...)
	if c.back(ctx, err) {
		s, err = c.ClientConn.NewStream(ctx, desc, method, opts...)
	}
	if err != nil {
		return nil, c.absent.explain(err)
	}
	return explained{s, c.absent}, nil
}

// explained is a stream whose errors have been through explain.
type explained struct {
	grpc.ClientStream
	u *unavailable
}

// RecvMsg implements grpc.ClientStream.
func (s explained) RecvMsg(m any) error { return s.u.explain(s.ClientStream.RecvMsg(m)) }
