package netns

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
)

// Dialer connects from inside a namespace, for a daemon that stays outside.
type Dialer struct {
	// Path is the namespace file.
	Path string
	// Nameservers, optional, are asked instead of those of the daemon's
	// resolv.conf. They are addresses without ports.
	Nameservers []string

	turn atomic.Uint32
}

// DialContext connects as net.Dialer does, names included. Addresses of a name
// are tried one after the other: the usual racing needs other threads, which
// would be outside.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.inside(ctx, network, address, &net.Resolver{PreferGo: true, Dial: d.dialNameserver})
}

func (d *Dialer) inside(ctx context.Context, network, address string, r *net.Resolver) (conn net.Conn, err error) {
	err = Do(d.Path, func() (err error) {
		dialer := net.Dialer{FallbackDelay: -1, Resolver: r}
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// dialNameserver is called on threads of the resolver's own. A name server on
// a loopback address is the daemon's: inside, nobody would answer.
func (d *Dialer) dialNameserver(ctx context.Context, network, address string) (net.Conn, error) {
	if n := len(d.Nameservers); n > 0 {
		address = net.JoinHostPort(d.Nameservers[int(d.turn.Add(1)-1)%n], "53")
	}
	if ap, err := netip.ParseAddrPort(address); err == nil && ap.Addr().IsLoopback() {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, address)
	}
	return d.inside(ctx, network, address, nil)
}
