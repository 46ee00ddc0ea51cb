package build

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"strings"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/dockerapi/hijack"
	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/dockerapi/upload"
	"github.com/kilnbuild/kiln/solver/pb/auth"
	"github.com/kilnbuild/kiln/solver/pb/filesync"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// visitor is a session within the daemon. Use openVisitor.
type visitor struct {
	auth.UnimplementedAuthServer
	filesync.UnimplementedFileSyncServer
	// ID is under what the build finds it.
	ID string

	context *upload.Context
	known   map[string]route.Credentials
	close   func()
}

// openVisitor opens a session that offers a context, which may be nil, and
// credentials by registry. It ends with ctx or Close.
func openVisitor(ctx context.Context, sessions *session.Manager, files *upload.Context, known map[string]route.Credentials) (*visitor, error) {
	v := &visitor{ID: "dockerapi-" + strings.ToLower(rand.Text()), context: files, known: known}
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(rpcerr.UnaryServer), grpc.ChainStreamInterceptor(rpcerr.StreamServer))
	auth.RegisterAuthServer(server, v)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	methods := []string{auth.Auth_Credentials_FullMethodName}
	if files != nil {
		filesync.RegisterFileSyncServer(server, v)
		methods = append(methods, filesync.FileSync_DiffCopy_FullMethodName)
	}
	near, far := net.Pipe()
	listener := hijack.NewListener()
	ctx, cancel := context.WithCancel(ctx)
	served, visited := make(chan struct{}), make(chan error, 1)
	go func() { defer close(served); _ = server.Serve(listener) }() // It ends with Stop.
	opt := session.Options{ID: v.ID, Methods: methods}
	if files != nil {
		// What is kept of a context is only compared with the same one: files
		// of archives may differ and have the same size and time.
		opt.SharedKey = files.Digest().String()
	}
	go func() { visited <- sessions.Serve(ctx, near, opt) }()
	v.close = func() {
		cancel()
		server.Stop()
		_ = listener.Close()
		<-served
		near.Close()
		far.Close()
	}
	if err := listener.Hand(ctx, far); err != nil {
		v.close()
		return nil, fmt.Errorf("open session for the request: %w", err)
	}
	opened := make(chan error, 1)
	go func() { _, err := sessions.Get(ctx, v.ID); opened <- err }()
	select {
	case err := <-opened:
		return v, err
	case err := <-visited:
		v.close()
		return nil, fmt.Errorf("open session for the request: %w", err)
	}
}

// Close ends the session.
func (v *visitor) Close() { v.close() }

// DiffCopy sends the context, whichever of its directories is asked for: the
// Dockerfile is in it.
func (v *visitor) DiffCopy(stream filesync.FileSync_DiffCopyServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	req, err := files.ParseRequest(md)
	if err != nil {
		return err
	}
	if req.Dir != "context" && req.Dir != "dockerfile" {
		return fmt.Errorf("no access allowed to dir %q: %w", req.Dir, errdefs.ErrNotFound)
	}
	tree, err := v.context.Tree(req.Patterns)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	return files.Send(ctx, packets{stream, cancel}, tree, nil)
}

// packets sends and receives packets on a server's stream.
type packets struct {
	filesync.FileSync_DiffCopyServer
	cancel func()
}

// Recv receives a packet.
func (p packets) Recv() (*fsutil.Packet, error) { return p.FileSync_DiffCopyServer.Recv() }

// Abort ends the walk; returning from the call ends the stream.
func (p packets) Abort() { p.cancel() }

// Docker Hub is known under several names.
const (
	hubHost = "registry-1.docker.io"
	hubName = "docker.io"
	hubKey  = "https://index.docker.io/v1/"
)

// Credentials looks a registry up. None known is no error.
func (v *visitor) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	for key, c := range v.known {
		if host := registryHost(key); host == registryHost(req.GetHost()) {
			user, secret := userSecret(c)
			return &auth.CredentialsResponse{Username: user, Secret: secret}, nil
		}
	}
	return &auth.CredentialsResponse{}, nil
}

// registryHost is the host of a key of the header, which may be a URL.
func registryHost(key string) string {
	if key == hubKey || key == hubHost || key == hubName || key == "index.docker.io" {
		return hubHost
	}
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	host, _, _ := strings.Cut(key, "/")
	return host
}

// userSecret is how the builder wants credentials: an identity token is a
// secret without a user.
func userSecret(c route.Credentials) (user, secret string) {
	switch {
	case c.IdentityToken != "":
		return "", c.IdentityToken
	case c.Username == "" && c.Password == "" && c.Auth != "":
		if data, err := base64.StdEncoding.DecodeString(c.Auth); err == nil {
			user, secret, _ = strings.Cut(string(data), ":")
		}
		return user, strings.TrimRight(secret, "\x00")
	}
	return c.Username, c.Password
}
