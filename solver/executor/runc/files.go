package runc

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kilnbuild/kiln/solver/executor"
)

// DefaultHostname is the name of containers that ask for none.
const DefaultHostname = "buildkitsandbox"

// maxResolvConf bounds what is read of the host's resolv.conf, in bytes.
const maxResolvConf = 64 << 10

// files writes the container's /etc/hosts and /etc/resolv.conf and returns
// their mounts.
func (e *Executor) files(b *bundle, c *executor.Container) ([]specs.Mount, error) {
	hosts, err := hostsFile(c.Hostname, c.ExtraHosts)
	if err != nil {
		return nil, err
	}
	var out []specs.Mount
	for _, f := range []struct {
		dest string
		data []byte
	}{
		{"/etc/hosts", hosts},
		{"/etc/resolv.conf", e.resolvConf(c.Network)},
	} {
		source := filepath.Join(b.dir, filepath.Base(f.dest))
		// The mode is what processes of any user in the container need.
		if err := os.WriteFile(source, f.data, 0o644); err != nil {
			return nil, err
		}
		out = append(out, specs.Mount{Destination: f.dest, Type: "bind", Source: source, Options: []string{"rbind", "ro"}})
	}
	return out, nil
}

func hostname(name string) string {
	if name == "" {
		return DefaultHostname
	}
	return name
}

func hostsFile(name string, extra []executor.HostIP) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "127.0.0.1\tlocalhost %s\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname(name))
	for _, h := range extra {
		if net.ParseIP(h.IP) == nil || strings.ContainsAny(h.Host, " \t\n\r#") || h.Host == "" {
			return nil, fmt.Errorf("extra host %q with address %q is not valid: %w", h.Host, h.IP, errdefs.ErrInvalidArgument)
		}
		fmt.Fprintf(&b, "%s\t%s\n", h.IP, h.Host)
	}
	return b.Bytes(), nil
}

// defaultNameservers are used when the host names none that a container in a
// network of its own could reach.
var defaultNameservers = []string{"8.8.8.8", "8.8.4.4"}

// resolvConf is the host's, changed by the configuration. A container in the
// host's network may use name servers on loopback addresses, others not.
func (e *Executor) resolvConf(network executor.NetworkMode) []byte {
	dns := e.cfg.DNS
	host := readResolvConf()
	if len(dns.Nameservers) == 0 {
		dns.Nameservers = host.Nameservers
	}
	if len(dns.Search) == 0 {
		dns.Search = host.Search
	}
	if len(dns.Options) == 0 {
		dns.Options = host.Options
	}
	if len(dns.Nameservers) == 0 && network != executor.NetworkHost {
		dns.Nameservers = defaultNameservers
	}
	var b bytes.Buffer
	for _, n := range dns.Nameservers {
		fmt.Fprintf(&b, "nameserver %s\n", n)
	}
	if len(dns.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Search, " "))
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return b.Bytes()
}

func readResolvConf() DNS {
	f, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return DNS{}
	}
	defer f.Close()
	buf := make([]byte, maxResolvConf)
	n, _ := f.Read(buf)
	var dns DNS
	for line := range strings.Lines(string(buf[:n])) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			dns.Nameservers = append(dns.Nameservers, fields[1])
		case "search", "domain":
			dns.Search = fields[1:]
		case "options":
			dns.Options = append(dns.Options, fields[1:]...)
		}
	}
	return dns
}
