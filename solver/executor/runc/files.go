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
		{"/etc/resolv.conf", e.resolvConf(b.net.host)},
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
