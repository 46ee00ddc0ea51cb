package runc

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Where the host says how names are resolved. The second is what systemd's
// resolver writes for those who cannot reach its own address, stubAddress.
const (
	hostResolvConf    = "/etc/resolv.conf"
	systemdResolvConf = "/run/systemd/resolve/resolv.conf"
	stubAddress       = "127.0.0.53"
)

// defaultNameservers are used when the host names none that a container in a
// network of its own could reach.
var defaultNameservers = []string{"8.8.8.8", "8.8.4.4"}

// resolvConf is made anew for each container, from what the host says at that
// time and what the configuration replaces. A container in the host's network
// may use name servers on loopback addresses; in others nobody answers there.
func (e *Executor) resolvConf(inHost bool) []byte {
	return writeResolvConf(e.cfg.DNS, readHostDNS(hostResolvConf, systemdResolvConf, inHost), inHost)
}

// readHostDNS reads the host's resolv.conf, or systemd's instead where the
// host's only leads to systemd.
func readHostDNS(path, systemd string, inHost bool) DNS {
	dns := readResolvConf(path)
	if !inHost && len(dns.Nameservers) == 1 && dns.Nameservers[0] == stubAddress {
		dns = readResolvConf(systemd)
	}
	return dns
}

// writeResolvConf is the file of a container: each field of the configuration
// that is set replaces the host's.
func writeResolvConf(dns, host DNS, inHost bool) []byte {
	if len(dns.Nameservers) == 0 {
		dns.Nameservers = host.Nameservers
	}
	if len(dns.Search) == 0 {
		dns.Search = host.Search
	}
	if len(dns.Options) == 0 {
		dns.Options = host.Options
	}
	if !inHost {
		dns.Nameservers = slices.DeleteFunc(slices.Clone(dns.Nameservers), isLoopback)
		if len(dns.Nameservers) == 0 {
			dns.Nameservers = defaultNameservers
		}
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

// isLoopback reports addresses that mean the host itself.
func isLoopback(nameserver string) bool {
	addr, err := netip.ParseAddr(nameserver)
	return err == nil && addr.Unmap().IsLoopback()
}

func readResolvConf(path string) DNS {
	f, err := os.Open(path)
	if err != nil {
		return DNS{}
	}
	defer f.Close()
	buf := make([]byte, maxResolvConf)
	n, _ := f.Read(buf)
	return parseResolvConf(string(buf[:n]))
}

// parseResolvConf reads the lines that matter and leaves the others out.
func parseResolvConf(text string) DNS {
	var dns DNS
	for line := range strings.Lines(text) {
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
