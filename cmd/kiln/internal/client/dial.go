package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// maxMessage bounds messages in both directions, in bytes.
const maxMessage = 16 << 20

// connectTimeout bounds one attempt to connect; all together are bounded by
// Options.Timeout.
const connectTimeout = 20 * time.Second

// Options of a connection.
type Options struct {
	// Addr is where the daemon listens. Of several, see Nodes, one is picked by
	// BuildKey.
	Addr string
	// BuildKey stands for what is to be built: builds with the same key are at
	// home in the same daemon, whose cache knows them.
	BuildKey string
	// ServerName is verified in the daemon's certificate; empty: the host.
	ServerName string
	// CA, Cert and Key name PEM files; Dir a directory that has them.
	CA, Cert, Key, Dir string
	// Timeout bounds the time until the daemon answers; 0: five seconds, or
	// for ever with Wait.
	Timeout time.Duration
	// Wait keeps trying while nothing listens.
	Wait bool
}

// Client is a connection to a daemon.
type Client struct {
	conn *grpc.ClientConn
	// Control is the whole API, for calls that need no help.
	Control control.ControlClient
}

// Dial connects and makes sure that a daemon answers.
func Dial(ctx context.Context, opt Options) (*Client, error) {
	if addrs := Nodes(opt.Addr); len(addrs) > 1 {
		return dialBest(ctx, opt, addrs)
	}
	return dialOne(ctx, opt)
}

// dialOne connects to one address.
func dialOne(ctx context.Context, opt Options) (*Client, error) {
	target, creds, dial, err := opt.target()
	if err != nil {
		return nil, err
	}
	opts := []grpc.DialOption{grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		// Without MinConnectTimeout the first attempt has BaseDelay to succeed:
		// too short for ssh, and for a busy machine.
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTimeout, Backoff: backoff.Config{
			BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second,
		}}),
		grpc.WithInitialWindowSize(4 << 20), grpc.WithInitialConnWindowSize(8 << 20),
		grpc.WithUnaryInterceptor(rpcerr.UnaryClient)}
	if dial != nil {
		opts = append(opts, grpc.WithContextDialer(dial))
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", opt.Addr, err)
	}
	c := &Client{conn: conn, Control: control.NewControlClient(conn)}
	if err := c.check(ctx, opt); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// Content reads blobs of the daemon's content store.
func (c *Client) Content() content.Provider { return proxy.NewContentStore(c.conn) }

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// check waits for an answer.
func (c *Client) check(ctx context.Context, opt Options) error {
	timeout := opt.Timeout
	if timeout == 0 && !opt.Wait {
		timeout = 5 * time.Second
	}
	wait := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	for {
		_, err := c.Control.Info(wait, &control.InfoRequest{}, grpc.WaitForReady(opt.Wait))
		if err == nil || rpcerr.Code(err) == codes.Unimplemented {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if wait.Err() != nil || !opt.Wait || status.Code(err) != codes.Unavailable {
			return fmt.Errorf("the daemon at %s does not answer (is kilnd running? set --addr or BUILDKIT_HOST): %w", opt.Addr, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// target turns an address into what gRPC dials. The dialer is nil where gRPC
// has its own.
func (o *Options) target() (string, credentials.TransportCredentials, dialer, error) {
	if o.Dir != "" && (o.CA != "" || o.Cert != "" || o.Key != "") {
		return "", nil, nil, errors.New("cannot specify tlsdir and tlscacert/tlscert/tlskey at the same time")
	}
	scheme, rest, ok := strings.Cut(o.Addr, "://")
	if !ok {
		return "", nil, nil, fmt.Errorf("address %q: want unix:///path or tcp://host:port", o.Addr)
	}
	if scheme == "unix" {
		// Not gRPC's own scheme: it takes "#" and "%" of a path for a URL's.
		return "passthrough:///localhost", insecure.NewCredentials(), func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", rest)
		}, nil
	}
	u, err := url.Parse(o.Addr)
	if err != nil || u.Host == "" {
		return "", nil, nil, fmt.Errorf("address %q: want %s://host", o.Addr, scheme)
	}
	if scheme == "tcp" {
		creds, err := o.tls(u.Host)
		return "dns:///" + u.Host, creds, nil, err
	}
	argv, err := helperCommand(u)
	if err != nil {
		return "", nil, nil, err
	}
	if argv == nil {
		return "", nil, nil, fmt.Errorf("address %q: scheme %q is not one of unix, tcp, docker-container, podman-container, nerdctl-container, kube-pod and ssh", o.Addr, scheme)
	}
	return "passthrough:///" + u.Host, insecure.NewCredentials(), func(ctx context.Context, _ string) (net.Conn, error) {
		return dialProcess(ctx, argv)
	}, nil
}

// dialer opens a connection.
type dialer func(ctx context.Context, addr string) (net.Conn, error)

// tls reads certificates; without any the connection is plain.
func (o *Options) tls(host string) (credentials.TransportCredentials, error) {
	if o.Dir != "" {
		var err error
		for _, f := range []struct {
			to    *string
			names [2]string
		}{{&o.CA, [2]string{"ca.pem", "ca.crt"}}, {&o.Cert, [2]string{"cert.pem", "tls.crt"}}, {&o.Key, [2]string{"key.pem", "tls.key"}}} {
			if *f.to, err = firstFile(o.Dir, f.names); err != nil {
				return nil, err
			}
		}
	}
	if o.CA == "" && o.Cert == "" && o.Key == "" && o.ServerName == "" {
		return insecure.NewCredentials(), nil
	}
	name := o.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(host)
	}
	cfg := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("read CA certificate: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", o.CA)
		}
	}
	if o.Cert != "" || o.Key != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(cfg), nil
}

// firstFile returns which of two names a directory has.
func firstFile(dir string, names [2]string) (string, error) {
	for _, n := range names {
		p := filepath.Join(dir, n)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("TLS directory %s has neither %s nor %s", dir, names[0], names[1])
}
