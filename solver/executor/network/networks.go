package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/solver/executor"
)

// Modes of Config.
const (
	ModeAuto   = "auto"
	ModeHost   = "host"
	ModeCNI    = "cni"
	ModeBridge = "bridge"
)

// Defaults of Config.
const (
	DefaultCNIConfig    = "/etc/buildkit/cni.json"
	DefaultCNIBinaries  = "/opt/cni/bin"
	DefaultBridgeName   = "buildkit0"
	DefaultBridgeSubnet = "10.10.0.0/16"
	// DefaultLockDir is where daemons that share a bridge meet.
	DefaultLockDir = "/run/kiln/networks"
)

// Environment variables that change how networks are made.
const (
	// envBridgeAuto, if true, makes "auto" mean "bridge".
	envBridgeAuto = "BUILDKIT_NETWORK_BRIDGE_AUTO"
	// envInitLock names a file that is locked while a daemon makes its first
	// network: plugins of several daemons at once may get into each other's way.
	envInitLock = "BUILDKIT_CNI_INIT_LOCK_PATH"
)

// Config says what networks containers get.
type Config struct {
	// Root is a directory of the package's own, on the daemon's persistent
	// disk: what plugins hand out survives a reboot.
	Root string
	// Mode is one of the modes; empty is "auto".
	Mode string
	// CNIConfig is a .conflist file, or one with a single plugin; CNIBinaries
	// the directory of the plugins. Empty for the defaults.
	CNIConfig, CNIBinaries string
	// PoolSize is how many networks are kept ready.
	PoolSize int
	// BridgeName and BridgeSubnet (IPv4, as address/bits) describe the built-in
	// bridge. Empty for the defaults.
	BridgeName, BridgeSubnet string
	// LockDir is for locks that daemons on one machine share; empty for the
	// default.
	LockDir string
	// Nameservers, optional, are used for connections that the daemon makes
	// from inside networks.
	Nameservers []string
}

func (c *Config) fill() {
	for _, f := range []struct {
		field *string
		value string
	}{
		{&c.Mode, ModeAuto},
		{&c.CNIConfig, DefaultCNIConfig},
		{&c.CNIBinaries, DefaultCNIBinaries},
		{&c.BridgeName, DefaultBridgeName},
		{&c.BridgeSubnet, DefaultBridgeSubnet},
		{&c.LockDir, DefaultLockDir},
	} {
		if *f.field == "" {
			*f.field = f.value
		}
	}
}

// Networks gives out networks; it is an executor.Networks.
type Networks struct {
	mode string
	// pool is nil for the daemon's own network.
	pool *pool
}

// Open settles the mode, removes what an earlier daemon left and makes sure
// that networks can be made. Unknown modes and wrong addresses are errdefs
// InvalidArgument.
func Open(ctx context.Context, cfg Config) (*Networks, error) {
	cfg.fill()
	mode, err := settle(cfg)
	if err != nil {
		return nil, err
	}
	if mode == ModeHost {
		if cfg.Mode == ModeAuto {
			log.G(ctx).Warnf("steps use the host's network: there is no CNI configuration %s, and %s is not set", cfg.CNIConfig, envBridgeAuto)
		}
		return &Networks{mode: mode}, sweep(ctx, cfg.Root, mode)
	}
	if err := sweep(ctx, cfg.Root, mode); err != nil {
		return nil, err
	}
	unlock, err := initLock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var m maker
	if mode == ModeBridge {
		m, err = newBridge(ctx, cfg)
	} else {
		m, err = newPlugins(cfg)
	}
	if err != nil {
		return nil, err
	}
	p := newPool(ctx, poolConfig{
		maker: m, dir: filepath.Join(cfg.Root, mode), size: cfg.PoolSize, nameservers: cfg.Nameservers,
	})
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s network: %w", mode, err), p.close(context.WithoutCancel(ctx)))
	}
	return &Networks{mode: mode, pool: p}, nil
}

// settle decides what "auto" means: a user who has a CNI configuration wants
// it; the bridge, which changes the machine's network, has to be asked for.
func settle(cfg Config) (string, error) {
	switch cfg.Mode {
	case ModeHost, ModeCNI, ModeBridge:
		return cfg.Mode, nil
	case ModeAuto:
	default:
		return "", fmt.Errorf("invalid network mode: %q (one of auto, bridge, cni and host): %w", cfg.Mode, errdefs.ErrInvalidArgument)
	}
	if on, err := strconv.ParseBool(os.Getenv(envBridgeAuto)); err == nil && on {
		return ModeBridge, nil
	}
	if _, err := os.Stat(cfg.CNIConfig); err == nil {
		return ModeCNI, nil
	}
	return ModeHost, nil
}

// Label is the mode in the words that clients read from a worker's labels:
// "host", or "cni" for networks of their own.
func (n *Networks) Label() string {
	if n.mode == ModeHost {
		return ModeHost
	}
	return ModeCNI
}

// Gateway is the address by which containers reach this machine; the zero Addr
// if their network does not lead through it.
func (n *Networks) Gateway() netip.Addr {
	if n.pool == nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return n.pool.cfg.maker.gateway()
}

// Sandbox returns a network for one container.
func (n *Networks) Sandbox(ctx context.Context, hostname string) (executor.Network, error) {
	if n.pool == nil {
		return Host{}, nil
	}
	return n.pool.take(ctx, hostname)
}

// Close removes all networks that no container is in; the others go when they
// are released.
func (n *Networks) Close(ctx context.Context) error {
	if n.pool == nil {
		return nil
	}
	return n.pool.close(ctx)
}
