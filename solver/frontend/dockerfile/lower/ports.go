package lower

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// portSpec is an argument of EXPOSE: [[address:]host:]port[-port][/protocol].
type portSpec struct {
	address, host, container string
	protocol                 string // as written, "tcp" if not
}

// mapped tells that the argument says more than an image can know.
func (p portSpec) mapped() bool { return p.address != "" || p.host != "" }

// parsePort takes an argument of EXPOSE apart. Addresses and host ports mean
// nothing in an image but are accepted, with a warning, as they always were.
func parsePort(text string) (portSpec, error) {
	parts := strings.Split(text, ":")
	n := len(parts)
	spec := portSpec{container: parts[n-1]}
	if n > 1 {
		spec.host = parts[n-2]
		spec.address = strings.Join(parts[:n-2], ":")
	}
	port, protocol, _ := strings.Cut(spec.container, "/")
	if port == "" {
		return spec, fmt.Errorf("invalid port: %q: no port specified", text)
	}
	spec.container, spec.protocol = port, protocol
	switch strings.ToLower(protocol) {
	case "":
		spec.protocol = "tcp"
	case "tcp", "udp", "sctp":
	default:
		return spec, fmt.Errorf("invalid port: %q: invalid proto: %s", text, protocol)
	}
	return spec, nil
}

// Ports lists the ports of an expanded argument of EXPOSE as port/protocol.
func Ports(text string) ([]string, error) {
	spec, err := parsePort(text)
	if err != nil {
		return nil, err
	}
	return spec.expand()
}

// expand lists the ports of a range as port/protocol.
func (p portSpec) expand() ([]string, error) {
	if err := p.checkAddress(); err != nil {
		return nil, err
	}
	first, last, err := parsePorts(p.container)
	if err != nil {
		return nil, errors.New("invalid containerPort: " + p.container)
	}
	if p.host != "" {
		hostFirst, hostLast, err := parsePorts(p.host)
		if err != nil {
			return nil, errors.New("invalid hostPort: " + p.host)
		}
		if last != first && last-first != hostLast-hostFirst {
			return nil, fmt.Errorf("invalid ranges specified for container and host Ports: %s and %s", p.container, p.host)
		}
	}
	out := make([]string, 0, last-first+1)
	for port := first; port <= last; port++ {
		out = append(out, strconv.Itoa(port)+"/"+strings.ToLower(p.protocol))
	}
	return out, nil
}

// checkAddress checks the address although it is not used.
func (p portSpec) checkAddress() error {
	address := p.address
	if strings.HasPrefix(address, "[") {
		bare, _, err := net.SplitHostPort(address + ":")
		if err != nil {
			return fmt.Errorf("invalid IP address %v: %w", address, err)
		}
		address = bare
	}
	if address != "" && net.ParseIP(address) == nil {
		return errors.New("invalid IP address: " + address)
	}
	return nil
}

// parsePorts reads a port or a range of ports.
func parsePorts(text string) (first, last int, err error) {
	start, end, isRange := strings.Cut(text, "-")
	if first, err = portNumber(start); err != nil || !isRange {
		return first, first, err
	}
	if last, err = portNumber(end); err == nil && last < first {
		err = errors.New("invalid port range: " + text)
	}
	return first, last, err
}

// portNumber reads a port. 0 is allowed: files in the wild expose it.
func portNumber(text string) (int, error) {
	number, err := strconv.ParseInt(text, 10, 32)
	if err == nil && (number < 0 || number > 65535) {
		err = errors.New("value out of range (0–65535)")
	}
	return int(number), err
}
