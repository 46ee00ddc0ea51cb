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

// Options of a connection.
type Options struct {
	// Addr is where the daemon listens.
	Addr string
	// ServerName is verified in the daemon's certificate; empty: the host.
	ServerName string
	// CA, Cert and Key name PEM files; Dir a directory that has them.
	CA, Cert, Key, Dir string
	// Timeout bounds the time until the daemon answers; 0: five seconds.
	Timeout time.Duration
	// Wait keeps trying until the daemon answers.
	Wait bool
}

// Client is a connection to a daemon.
type Client struct {
	conn    *grpc.ClientConn
	Control control.ControlClient
}

// Dial connects and makes sure that a daemon answers.
func Dial(ctx context.Context, opt Options) (*Client, error) {
	target, creds, err := opt.target()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{
			BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second,
		}}),
		grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(8<<20),
		grpc.WithUnaryInterceptor(rpcerr.UnaryClient))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", opt.Addr, err)
	}
	c := &Client{conn: conn, Control: control.NewControlClient(conn)}
	if err := c.check(ctx, opt); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// check waits for an answer.
func (c *Client) check(ctx context.Context, opt Options) error {
	timeout := opt.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	wait := ctx
	if !opt.Wait {
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

// target turns an address into what gRPC dials.
func (o *Options) target() (string, credentials.TransportCredentials, error) {
	scheme, rest, ok := strings.Cut(o.Addr, "://")
	if !ok {
		return "", nil, fmt.Errorf("address %q: want unix:///path or tcp://host:port", o.Addr)
	}
	switch scheme {
	case "unix":
		return "unix:" + rest, insecure.NewCredentials(), nil
	case "tcp":
		u, err := url.Parse(o.Addr)
		if err != nil || u.Host == "" {
			return "", nil, fmt.Errorf("address %q: want tcp://host:port", o.Addr)
		}
		creds, err := o.tls(u.Host)
		return "dns:///" + u.Host, creds, err
	}
	return "", nil, fmt.Errorf("address %q: scheme %q is not one of unix and tcp", o.Addr, scheme)
}

// tls reads certificates; without any the connection is plain.
func (o *Options) tls(host string) (credentials.TransportCredentials, error) {
	if o.Dir != "" {
		if o.CA != "" || o.Cert != "" || o.Key != "" {
			return nil, errors.New("a TLS directory and single TLS files exclude each other")
		}
		o.CA = firstFile(o.Dir, "ca.pem", "ca.crt")
		o.Cert = firstFile(o.Dir, "cert.pem", "tls.crt")
		o.Key = firstFile(o.Dir, "key.pem", "tls.key")
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

func firstFile(dir string, names ...string) string {
	for _, n := range names {
		p := filepath.Join(dir, n)
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}
