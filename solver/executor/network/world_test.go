package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// inWorld marks the process that runs the tests.
const inWorld = "KILN_TEST_NETWORK_WORLD"

// TestMain runs the tests in network and mount namespaces of their own, with
// a little world around them: whatever goes wrong, the machine's network stays
// as it was.
func TestMain(m *testing.M) {
	if os.Getenv(inWorld) != "" {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inWorld+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Addresses of the machine and of what is outside of it.
const (
	machine = "192.0.2.1"
	outside = "192.0.2.2"
)

// world is another machine, behind a cable.
type world struct {
	path string
	addr string
}

// newWorld connects another machine with a server that answers with the
// address a connection comes from.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{path: filepath.Join(t.TempDir(), "outside")}
	check(t, netns.Create(w.path))
	t.Cleanup(func() { check(t, netns.Remove(w.path)) })
	target, err := os.Open(w.path)
	check(t, err)
	defer target.Close()
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wan0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(target.Fd())}
	check(t, netlink.LinkAdd(cable))
	t.Cleanup(func() { _ = netlink.LinkDel(cable) })
	wan, err := netlink.LinkByName("wan0")
	check(t, err)
	addr, _ := netlink.ParseAddr(machine + "/24")
	check(t, netlink.AddrAdd(wan, addr))
	check(t, netlink.LinkSetUp(wan))
	check(t, netns.At(w.path, func(h *netlink.Handle) error {
		eth, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		addr, _ := netlink.ParseAddr(outside + "/24")
		gw := net.ParseIP(machine)
		return errors.Join(h.AddrAdd(eth, addr), h.LinkSetUp(eth), h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gw}))
	}))
	var ln net.Listener
	check(t, netns.Do(w.path, func() (err error) {
		ln, err = net.Listen("tcp4", outside+":0")
		return err
	}))
	t.Cleanup(func() { _ = ln.Close() })
	w.addr = ln.Addr().String()
	go echoAddresses(ln)
	return w
}

// echoAddresses tells each client the address it comes from.
func echoAddresses(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		_, _ = io.WriteString(c, host)
		_ = c.Close()
	}
}

// reach connects from a network and returns what the server says.
func reach(ctx context.Context, n interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	data, err := io.ReadAll(c)
	return string(data), err
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, cfg Config) *Networks {
	t.Helper()
	n, err := Open(t.Context(), cfg)
	check(t, err)
	t.Cleanup(func() { _ = n.Close(context.WithoutCancel(t.Context())) })
	return n
}

func take(t *testing.T, n *Networks) executor.Network {
	t.Helper()
	s, err := n.Sandbox(t.Context(), "")
	check(t, err)
	return s
}

// traces are the devices, firewall tables and namespace files on the machine.
func traces(t *testing.T, dir string) []string {
	t.Helper()
	links, err := netlink.LinkList()
	check(t, err)
	var out []string
	for _, l := range links {
		out = append(out, "device "+l.Attrs().Name)
	}
	c, err := nftables.New()
	check(t, err)
	tables, err := c.ListTables()
	check(t, err)
	for _, table := range tables {
		out = append(out, "table "+table.Name)
	}
	check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			out = append(out, "file "+path)
		}
		return err
	}))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	check(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			out = append(out, "mount "+line)
		}
	}
	return out
}

func diff(before, after []string) string {
	return strings.Join([]string{"before:", strings.Join(before, ", "), "after:", strings.Join(after, ", ")}, "\n")
}

// crash drops everything that a daemon holds, as the kernel does when it is
// killed: locks and goroutines go, namespaces stay.
func crash(t *testing.T, n *Networks) {
	t.Helper()
	n.pool.stop()
	<-n.pool.done
	if b, ok := n.pool.cfg.maker.(*bridge); ok {
		check(t, b.claims.close())
	}
	n.pool.closed = true
}
