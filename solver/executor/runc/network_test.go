package runc_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/executor/netns"
	"github.com/kilnbuild/kiln/solver/executor/runc"
)

// island is a network with one address, which is nowhere else.
type island struct {
	path     string
	hostname string
	released []bool
}

const islandAddress = "192.0.2.77"

func newIsland(t *testing.T) *island {
	t.Helper()
	n := &island{path: filepath.Join(t.TempDir(), "netns")}
	if err := netns.Create(n.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.Remove(n.path) })
	err := netns.At(n.path, func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		addr, _ := netlink.ParseAddr(islandAddress + "/32")
		return h.AddrAdd(lo, addr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *island) Sandbox(_ context.Context, hostname string) (executor.Network, error) {
	n.hostname = hostname
	return n, nil
}

func (n *island) Path() string { return n.path }

func (n *island) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return (&netns.Dialer{Path: n.path}).DialContext(ctx, network, address)
}

func (n *island) Release(_ context.Context, spoiled bool) error {
	n.released = append(n.released, spoiled)
	return nil
}

// proxied is an island that is said to have a proxy.
type proxied struct {
	*island
	mode executor.NetworkMode
}

func (p *proxied) Open(_ context.Context, mode executor.NetworkMode, _ executor.Gate) (executor.ProxiedNetwork, error) {
	p.mode = mode
	return p, nil
}

func (*proxied) Env() []string { return []string{"HTTP_PROXY=http://proxy"} }

func (*proxied) CA() []byte { return []byte("THE PROXY'S CERTIFICATE\n") }

func (*proxied) Close(context.Context) (solver.Traffic, error) {
	return solver.Traffic{Requests: []solver.Request{{Method: "GET", URL: "http://a/"}}}, nil
}

// run runs a shell command and returns what it says.
func run(t *testing.T, e *runc.Executor, root string, c executor.Container, command string) string {
	t.Helper()
	out := &buffer{}
	c.Root = executor.Root{Mounts: bind(root)}
	c.Process.Args, c.Process.Stdout, c.Process.Stderr = []string{"/bin/busybox", "sh", "-c", command}, out, out
	if err := e.Run(t.Context(), "net", c, nil); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out.data.String())
	}
	return out.data.String()
}

func eachRuntimeWith(t *testing.T, change func(*runc.Config), fn func(t *testing.T, e *runc.Executor)) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) {
			cfg := runc.Config{Root: filepath.Join(t.TempDir(), "executor"), Runtime: name}
			change(&cfg)
			e, err := runc.New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			fn(t, e)
		})
	}
}

const addresses = "/bin/busybox ip addr show"

func TestNetworks(t *testing.T) {
	n := newIsland(t)
	eachRuntimeWith(t, func(c *runc.Config) { c.Networks = n }, func(t *testing.T, e *runc.Executor) {
		n.released = nil
		if out := run(t, e, newRoot(t), executor.Container{Hostname: "me"}, addresses); !strings.Contains(out, islandAddress) || n.hostname != "me" {
			t.Errorf("sandbox: %s", out)
		}
		if out := run(t, e, newRoot(t), executor.Container{Network: executor.NetworkHost}, addresses); strings.Contains(out, islandAddress) {
			t.Errorf("host: %s", out)
		}
		out := run(t, e, newRoot(t), executor.Container{Network: executor.NetworkNone}, addresses)
		if strings.Contains(out, islandAddress) || !strings.Contains(out, "127.0.0.1") {
			t.Errorf("none: %s", out)
		}
		if out := run(t, e, newRoot(t), executor.Container{Network: executor.NetworkNone}, "/bin/busybox ping -c 1 -W 1 127.0.0.1 >/dev/null && echo up"); !strings.Contains(out, "up") {
			t.Errorf("loopback of none: %s", out)
		}
		run(t, e, newRoot(t), executor.Container{Insecure: true}, "true")
		if len(n.released) != 2 || n.released[0] || !n.released[1] {
			t.Errorf("released: %v", n.released)
		}
	})
}

func TestProxied(t *testing.T) {
	p := &proxied{island: newIsland(t)}
	eachRuntimeWith(t, func(c *runc.Config) { c.Proxies = p }, func(t *testing.T, e *runc.Executor) {
		root := newRoot(t)
		store := filepath.Join(root, "etc/ssl/certs/ca-certificates.crt")
		const text = "some certificates\n"
		long := time.Now().Add(-time.Hour).Truncate(time.Second)
		writeStore := func() {
			t.Helper()
			if err := os.MkdirAll(filepath.Dir(store), 0o755); err != nil {
				t.Fatal(err)
			}
			// An absolute link must be one of the container, not of the host.
			real := filepath.Join(root, "etc/bundle")
			_ = os.Remove(store)
			if err := os.WriteFile(real, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/etc/bundle", store); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(real, long, long); err != nil {
				t.Fatal(err)
			}
		}
		writeStore()
		var traffic solver.Traffic
		c := executor.Container{Network: executor.NetworkHost, Proxy: &executor.Proxy{Record: func(tr solver.Traffic) { traffic = tr }}}
		c.Process.Env = []string{"HTTP_PROXY=http://old", "A=b"}
		out := run(t, e, root, c, "echo $HTTP_PROXY $A; /bin/busybox cat /etc/ssl/certs/ca-certificates.crt; "+addresses)
		for _, want := range []string{"http://proxy b\n", text, "# buildkit proxy CA begin\nTHE PROXY'S CERTIFICATE\n# buildkit proxy CA end\n", islandAddress} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in: %s", want, out)
			}
		}
		fi, err := os.Stat(filepath.Join(root, "etc/bundle"))
		data, _ := os.ReadFile(filepath.Join(root, "etc/bundle"))
		if err != nil || string(data) != text || !fi.ModTime().Equal(long) {
			t.Errorf("afterwards: %q, %v, %v", data, fi, err)
		}
		if len(traffic.Requests) != 1 || p.mode != executor.NetworkHost {
			t.Errorf("recorded %v, mode %v", traffic, p.mode)
		}
		// What a process adds stays, and what it replaced is left alone.
		run(t, e, root, c, "echo mine >> /etc/bundle")
		if data, _ = os.ReadFile(filepath.Join(root, "etc/bundle")); string(data) != text+"mine\n" {
			t.Errorf("added: %q", data)
		}
		writeStore()
		run(t, e, root, c, "/bin/busybox rm /etc/bundle && /bin/busybox mkfifo /etc/bundle")
		c.Network = executor.NetworkNone
		if out := run(t, e, newRoot(t), c, "echo $HTTP_PROXY; "+addresses); strings.Contains(out, islandAddress) || !strings.Contains(out, "http://old") {
			t.Errorf("none: %s", out)
		}
	})
}

func TestNoProxies(t *testing.T) {
	f := newFixture(t, "runc")
	out := &buffer{}
	err := f.Run(t.Context(), "a", executor.Container{
		Root: executor.Root{Mounts: bind(f.root)}, Proxy: &executor.Proxy{},
		Process: executor.Process{Args: []string{"/bin/busybox", "true"}, Stdout: out, Stderr: out},
	}, nil)
	if err == nil {
		t.Error("ran without the proxy it asked for")
	}
}
