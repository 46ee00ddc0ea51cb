package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/executor/netns"
)

// alias marks the bridges that this package made and may remove.
const alias = "kiln"

// vethPrefix starts the names of the devices at the bridge's end.
const vethPrefix = "kiln"

// ipForward switches forwarding of packets between devices.
const ipForward = "/proc/sys/net/ipv4/ip_forward"

// bridge connects namespaces to a bridge with a way out.
type bridge struct {
	name   string
	subnet netip.Prefix
	claims *claims
	// first and last are the numbers of addresses for spaces; the one before
	// first is the bridge's own, the gateway.
	first, last uint32
	index       int
}

func newBridge(ctx context.Context, cfg Config) (b *bridge, err error) {
	b = &bridge{name: cfg.BridgeName}
	if b.subnet, b.first, b.last, err = parseSubnet(cfg.BridgeSubnet); err != nil {
		return nil, err
	}
	if len(b.name) == 0 || len(b.name) >= unix.IFNAMSIZ || strings.ContainsAny(b.name, "/ \t\n") {
		return nil, fmt.Errorf("bridge name %q (worker.oci.bridgeName): %w", b.name, errdefs.ErrInvalidArgument)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		return nil, fmt.Errorf("find own network namespace: %w", err)
	}
	// Bridges of one name in several network namespaces are several bridges.
	lockName := strconv.FormatUint(st.Ino, 10) + "-" + b.name
	if b.claims, err = openClaims(filepath.Join(cfg.LockDir, lockName)); err != nil {
		return nil, err
	}
	if err := b.up(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bridge %s: %w", b.name, err), b.close(ctx))
	}
	return b, nil
}

// parseSubnet reads a subnet and tells which numbers of addresses in it are
// for spaces.
func parseSubnet(s string) (subnet netip.Prefix, first, last uint32, err error) {
	subnet, err = netip.ParsePrefix(s)
	if err != nil || !subnet.Addr().Is4() || subnet.Bits() > 29 || subnet.Bits() < 8 {
		return subnet, 0, 0, fmt.Errorf("bridge subnet %q is not an IPv4 network from /8 to /29, such as %s (worker.oci.bridgeSubnet): %w",
			s, DefaultBridgeSubnet, errdefs.ErrInvalidArgument)
	}
	size := uint32(1) << (32 - subnet.Bits())
	return subnet.Masked(), 2, size - 2, nil
}

// address is the n-th address of the subnet, with the subnet's bits.
func (b *bridge) address(n uint32) *net.IPNet {
	base := b.subnet.Addr().As4()
	ip := make(net.IP, net.IPv4len)
	binary.BigEndian.PutUint32(ip, binary.BigEndian.Uint32(base[:])+n)
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(b.subnet.Bits(), 32)}
}

// up makes the bridge, or takes one that is there, and opens the way out.
func (b *bridge) up(ctx context.Context) error {
	link, err := netlink.LinkByName(b.name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		if link, err = b.create(); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("there is a device of that name, and it is a %s: %w", link.Type(), errdefs.ErrFailedPrecondition)
	}
	b.index = link.Attrs().Index
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: b.address(b.first - 1)}); err != nil {
		return fmt.Errorf("set address: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	if err := forward(); err != nil {
		return err
	}
	return addRules(ctx, b.name, b.subnet)
}

func (b *bridge) create() (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = b.name
	// Without an address of its own it would take, and change, those of its
	// ports, and the neighbours would have to learn it each time.
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(attrs.HardwareAddr[2:], rand.Uint32())
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("create: %w", err)
	}
	link, err := netlink.LinkByName(b.name)
	if err != nil {
		return nil, err
	}
	return link, netlink.LinkSetAlias(link, alias)
}

// forward has the kernel pass packets on. It is left on: others rely on it by
// the time the daemon ends.
func forward() error {
	data, err := os.ReadFile(ipForward)
	if err != nil {
		return fmt.Errorf("read ip_forward: %w", err)
	}
	if strings.TrimSpace(string(data)) == "1" {
		return nil
	}
	if err := os.WriteFile(ipForward, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("switch ip_forward on: %w", err)
	}
	return nil
}

// connect makes a pair of devices: one in the namespace, the other a port of
// the bridge.
func (b *bridge) connect(_ context.Context, s *space) (err error) {
	// Plugins that share the bridge hand addresses out from the lower end.
	from := b.first + (b.last-b.first)/2 + rand.Uint32N((b.last-b.first)/2+1)
	if s.host, err = b.claims.take(from, b.first, b.last); err != nil {
		return err
	}
	target, err := os.Open(s.Path())
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer target.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.Flags = vethPrefix+s.id[:unix.IFNAMSIZ-1-len(vethPrefix)], b.index, net.FlagUp
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(target.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("create devices: %w", err)
	}
	return netns.At(s.Path(), func(h *netlink.Handle) error {
		eth, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := h.AddrAdd(eth, &netlink.Addr{IPNet: b.address(s.host)}); err != nil {
			return fmt.Errorf("set address: %w", err)
		}
		if err := h.LinkSetUp(eth); err != nil {
			return fmt.Errorf("start device: %w", err)
		}
		route := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: b.address(b.first - 1).IP}
		if err := h.RouteAdd(route); err != nil {
			return fmt.Errorf("set route: %w", err)
		}
		return nil
	})
}

// disconnect removes the devices. They would go with the namespace, but that
// takes its time, and the address must not be in use any more.
func (b *bridge) disconnect(_ context.Context, s *space) error {
	if netns.Mounted(s.Path()) {
		err := netns.At(s.Path(), func(h *netlink.Handle) error {
			eth, err := h.LinkByName("eth0")
			var missing netlink.LinkNotFoundError
			if errors.As(err, &missing) {
				return nil
			}
			if err != nil {
				return err
			}
			return h.LinkDel(eth)
		})
		if err != nil {
			return fmt.Errorf("remove devices: %w", err)
		}
	}
	if s.host != 0 {
		b.claims.drop(s.host)
	}
	return nil
}

func (b *bridge) gateway() netip.Addr { return b.subnet.Addr().Next() }

// close removes the bridge if this package made it and nobody else uses it.
func (b *bridge) close(ctx context.Context) error {
	defer func() { _ = b.claims.close() }()
	if !b.claims.alone() {
		return nil
	}
	link, err := netlink.LinkByName(b.name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return removeRules(ctx, b.name)
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", b.name, err)
	}
	if link.Attrs().Alias == alias {
		busy, err := hasPorts(link.Attrs().Index)
		if err != nil || busy {
			return err
		}
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("remove bridge %s: %w", b.name, err)
		}
	}
	return removeRules(ctx, b.name)
}

func hasPorts(index int) (bool, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return false, fmt.Errorf("list devices: %w", err)
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == index {
			return true, nil
		}
	}
	return false, nil
}
