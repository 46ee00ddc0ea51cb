package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/kilnbuild/kiln/solver/executor/netns"
)

func bridgeConfig(t *testing.T) Config {
	dir := t.TempDir()
	return Config{Root: filepath.Join(dir, "net"), Mode: ModeBridge, BridgeName: "kilntest0", BridgeSubnet: "10.77.0.0/24", LockDir: filepath.Join(dir, "locks")}
}

// address is the IPv4 address of eth0 in a namespace.
func address(t *testing.T, path string) string {
	t.Helper()
	var out string
	check(t, netns.At(path, func(h *netlink.Handle) error {
		eth, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		addrs, err := h.AddrList(eth, netlink.FAMILY_V4)
		if err == nil && len(addrs) == 1 {
			out = addrs[0].IP.String()
		}
		return err
	}))
	return out
}

func TestBridge(t *testing.T) {
	w, cfg := newWorld(t), bridgeConfig(t)
	before := traces(t, cfg.Root[:len(cfg.Root)-len("/net")])
	n := open(t, cfg)
	if n.Label() != ModeCNI || n.Gateway() != netip.MustParsePrefix(cfg.BridgeSubnet).Addr().Next() {
		t.Errorf("label %s, gateway %s", n.Label(), n.Gateway())
	}
	a, b := take(t, n), take(t, n)
	if got, err := reach(t.Context(), a, w.addr); err != nil || got != machine {
		t.Errorf("out: %q, %v", got, err)
	}
	if x, y := address(t, a.Path()), address(t, b.Path()); x == y || !netip.MustParsePrefix(cfg.BridgeSubnet).Contains(netip.MustParseAddr(x)) {
		t.Errorf("addresses %s and %s", x, y)
	}
	// Nobody outside opens connections to a step.
	var ln net.Listener
	check(t, netns.Do(a.Path(), func() (err error) {
		ln, err = net.Listen("tcp4", ":0")
		return err
	}))
	defer ln.Close()
	go echoAddresses(ln)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	in := net.JoinHostPort(address(t, a.Path()), port)
	if _, err := reach(t.Context(), b, in); err != nil {
		t.Errorf("a neighbour: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := reach(ctx, &netns.Dialer{Path: w.path}, in); err == nil {
		t.Errorf("reached from outside by %s", got)
	}
	// The daemon's own loopback is not theirs.
	local, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	defer local.Close()
	if _, err := reach(t.Context(), a, local.Addr().String()); err == nil {
		t.Error("reached the daemon's loopback")
	}
	check(t, a.Release(t.Context(), false))
	check(t, b.Release(t.Context(), true))
	check(t, n.Close(t.Context()))
	if after := traces(t, cfg.Root); len(after) != len(before) {
		t.Errorf("left behind: %s", diff(before, after))
	}
}

func TestBridgeReuse(t *testing.T) {
	n := open(t, bridgeConfig(t))
	a := take(t, n)
	path := a.Path()
	check(t, a.Release(t.Context(), false))
	b := take(t, n)
	if b.Path() != path {
		t.Error("a clean network was not used again")
	}
	check(t, b.Release(t.Context(), true))
	c := take(t, n)
	if c.Path() == path {
		t.Error("a spoiled network was used again")
	}
	check(t, c.Release(t.Context(), false))
}

func TestBridgeParallel(t *testing.T) {
	cfg := bridgeConfig(t)
	cfg.PoolSize = 3
	n := open(t, cfg)
	var mu sync.Mutex
	in := map[string]bool{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			s, err := n.Sandbox(t.Context(), "")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if in[s.Path()] {
				t.Error("two containers in one network")
			}
			in[s.Path()] = true
			mu.Unlock()
			mu.Lock()
			delete(in, s.Path())
			mu.Unlock()
			if err := s.Release(t.Context(), false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestBridgeCrash(t *testing.T) {
	cfg := bridgeConfig(t)
	first, err := Open(t.Context(), cfg)
	check(t, err)
	left := take(t, first).Path()
	crash(t, first)
	if !netns.Mounted(left) {
		t.Fatal("a crash left nothing")
	}
	second := open(t, cfg)
	s := take(t, second)
	check(t, s.Release(t.Context(), false))
	check(t, second.Close(t.Context()))
	if netns.Mounted(left) {
		t.Error("the crashed daemon's network is still there")
	}
	if after := traces(t, cfg.Root); len(after) != 1 {
		t.Errorf("left behind: %s", strings.Join(after, ", "))
	}
}

// TestBridgeCrashThenHost changes the configuration after a crash.
func TestBridgeCrashThenHost(t *testing.T) {
	cfg := bridgeConfig(t)
	first, err := Open(t.Context(), cfg)
	check(t, err)
	left := take(t, first).Path()
	crash(t, first)
	host := cfg
	host.Mode = ModeHost
	open(t, host)
	if netns.Mounted(left) {
		t.Error("the crashed daemon's network is still there")
	}
	again := open(t, cfg)
	check(t, again.Close(t.Context()))
}

func TestBridgeShared(t *testing.T) {
	cfg := bridgeConfig(t)
	cfg.BridgeSubnet = "10.77.0.0/28"
	other := cfg
	other.Root = filepath.Join(t.TempDir(), "net")
	a, b := open(t, cfg), open(t, other)
	seen := map[string]bool{}
	for _, n := range []*Networks{a, b, a, b, a, b} {
		s := take(t, n)
		ip := address(t, s.Path())
		if seen[ip] {
			t.Errorf("%s was given away twice", ip)
		}
		seen[ip] = true
		defer func() { _ = s.Release(context.WithoutCancel(t.Context()), false) }()
	}
	check(t, a.Close(t.Context()))
	if _, err := netlink.LinkByName(cfg.BridgeName); err != nil {
		t.Errorf("the bridge of the other daemon: %v", err)
	}
}

func TestBridgeFull(t *testing.T) {
	cfg := bridgeConfig(t)
	cfg.BridgeSubnet = "10.77.0.0/29"
	n := open(t, cfg)
	for range 5 {
		s := take(t, n)
		defer func() { _ = s.Release(context.WithoutCancel(t.Context()), false) }()
	}
	if _, err := n.Sandbox(t.Context(), ""); !errdefs.IsResourceExhausted(err) {
		t.Fatalf("got %v", err)
	}
}

// TestBridgeOfOthers takes a bridge that is there and leaves it there, and
// their firewall rules too.
func TestBridgeOfOthers(t *testing.T) {
	cfg := bridgeConfig(t)
	theirs := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: cfg.BridgeName}}
	check(t, netlink.LinkAdd(theirs))
	t.Cleanup(func() { _ = netlink.LinkDel(theirs) })
	c, err := nftables.New()
	check(t, err)
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "theirs"})
	c.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	check(t, c.Flush())
	t.Cleanup(func() { c.DelTable(table); _ = c.Flush() })
	before := traces(t, cfg.Root[:len(cfg.Root)-len("/net")])
	n := open(t, cfg)
	check(t, n.Close(t.Context()))
	after := traces(t, cfg.Root)
	if !slices.Equal(before, after) {
		t.Error(diff(before, after))
	}
	chain, err := c.ListChain(table, "FORWARD")
	if err != nil || chain.Policy == nil || *chain.Policy != drop {
		t.Errorf("their chain: %+v, %v", chain, err)
	}
}

func TestBridgeRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no subnet":       func(c *Config) { c.BridgeSubnet = "ten" },
		"IPv6":            func(c *Config) { c.BridgeSubnet = "fd00::/64" },
		"small subnet":    func(c *Config) { c.BridgeSubnet = "10.0.0.0/30" },
		"huge subnet":     func(c *Config) { c.BridgeSubnet = "0.0.0.0/0" },
		"long name":       func(c *Config) { c.BridgeName = "a-name-that-is-too-long" },
		"name with slash": func(c *Config) { c.BridgeName = "a/b" },
		"mode":            func(c *Config) { c.Mode = "vpn" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bridgeConfig(t)
			change(&cfg)
			if _, err := Open(t.Context(), cfg); !errdefs.IsInvalidArgument(err) {
				t.Fatalf("got %v", err)
			}
		})
	}
	t.Run("not a bridge", func(t *testing.T) {
		cfg := bridgeConfig(t)
		cfg.BridgeName = "lo"
		if _, err := Open(t.Context(), cfg); !errors.Is(err, errdefs.ErrFailedPrecondition) {
			t.Fatalf("got %v", err)
		}
	})
}
