package buildxdriver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/docker/buildx/driver"
	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"
)

// Labels of kilnd's worker that the driver looks at.
const (
	labelNamespace   = "org.mobyproject.buildkit.worker.containerd.namespace"
	labelNetwork     = "org.mobyproject.buildkit.worker.network"
	labelHostGateway = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"
)

// lookWithin bounds one look at a daemon that should be running.
const lookWithin = 20 * time.Second

// Driver is one node of a builder; see driver.Driver. It keeps nothing but the
// options in memory.
type Driver struct {
	factory Factory
	cfg     driver.InitConfig
	opts    *options
}

var _ driver.Driver = (*Driver)(nil)

// Factory implements driver.Driver.
func (d *Driver) Factory() driver.Factory { return d.factory }

// Config implements driver.Driver.
func (d *Driver) Config() driver.InitConfig { return d.cfg }

// IsMobyDriver implements driver.Driver: results are not in a Docker Engine.
func (d *Driver) IsMobyDriver() bool { return false }

// Version implements driver.Driver. kilnd tells its version when asked.
func (d *Driver) Version(context.Context) (string, error) { return "", nil }

// Features implements driver.Driver.
func (d *Driver) Features(context.Context) map[driver.Feature]bool {
	return map[driver.Feature]bool{
		driver.OCIExporter: true, driver.DockerExporter: true, driver.CacheExport: true,
		driver.MultiPlatform: true, driver.DirectPush: true, driver.DefaultLoad: d.opts.defaultLoad,
	}
}

// Dial implements driver.Driver. Without a daemon the error is
// driver.ErrNotRunning, at which buildx bootstraps the node.
func (d *Driver) Dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", d.opts.socket)
	switch {
	case nobody(err):
		return nil, fmt.Errorf("connect to %s: %w", d.opts.socket, driver.ErrNotRunning{})
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("connect to kilnd (this user may not use the socket; the members of its group may): %w", err)
	case err != nil:
		return nil, fmt.Errorf("connect to kilnd: %w", err)
	}
	return conn, nil
}

// nobody reports an error of connecting to a socket that no process serves.
func nobody(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// mayUse reports whether this process may connect to a socket.
func mayUse(socket string) bool { return unix.Access(socket, unix.W_OK) == nil }

// Client implements driver.Driver. The connection is made when it is first
// used.
func (d *Driver) Client(ctx context.Context, opts ...client.ClientOpt) (*client.Client, error) {
	dialer := client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.Dial(ctx) })
	return client.New(ctx, "", append([]client.ClientOpt{dialer}, opts...)...)
}

// Info implements driver.Driver. A node whose daemon was found but is not the
// one that its options ask for is an error.
func (d *Driver) Info(ctx context.Context) (*driver.Info, error) {
	worker, err := d.look(ctx)
	switch {
	case err == nil:
		return &driver.Info{Status: driver.Running}, d.matches(worker)
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	}
	status := driver.Inactive
	if rec, err := readRecord(d.opts.room); err == nil {
		status = driver.Stopped
		if rec.alive() {
			status = driver.Starting
		}
	}
	return &driver.Info{Status: status}, nil
}

// look asks kilnd for its worker.
func (d *Driver) look(ctx context.Context) (*client.WorkerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	// gRPC would not say why it could not connect in a way that can be tested.
	conn, err := d.Dial(ctx)
	if err != nil {
		return nil, err
	}
	conn.Close()
	c, err := d.Client(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach kilnd at %s: %w", d.opts.socket, err)
	}
	defer func() { _ = c.Close() }() // The answer is there, or the error.
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask kilnd at %s: %w", d.opts.socket, err)
	}
	if len(workers) == 0 {
		return nil, fmt.Errorf("ask kilnd at %s: it has no worker", d.opts.socket)
	}
	return workers[0], nil
}

// matches compares a daemon that was found with the node's options, as far as
// these change where images end.
func (d *Driver) matches(worker *client.WorkerInfo) error {
	has := worker.Labels[labelNamespace]
	if d.opts.namespace == "" || has == "" || has == d.opts.namespace {
		return nil
	}
	return fmt.Errorf("kilnd at %s works in containerd's namespace %q, this builder is for %q: give it a socket of its own (--driver-opt socket=, root=)",
		d.opts.socket, has, d.opts.namespace)
}

// HostGatewayIP implements driver.Driver: the address of this machine as steps
// see it.
func (d *Driver) HostGatewayIP(ctx context.Context) (net.IP, error) {
	worker, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	if text := worker.Labels[labelHostGateway]; text != "" {
		if ip := net.ParseIP(text); ip != nil {
			return ip, nil
		}
		return nil, fmt.Errorf("kilnd says that its host gateway is %q, which is no address", text)
	}
	if worker.Labels[labelNetwork] == "host" {
		return net.IPv4(127, 0, 0, 1), nil // Steps are in the machine's own network.
	}
	return nil, fmt.Errorf("host-gateway is not supported in kilnd's network %q: name the address instead", worker.Labels[labelNetwork])
}
