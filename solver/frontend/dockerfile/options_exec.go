package dockerfile

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	csvvalue "github.com/tonistiigi/go-csvvalue"

	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// readExec reads the settings of RUN steps.
func (o *options) readExec() error {
	o.exec.CacheNamespace = o.raw[optBuildArg+"BUILDKIT_CACHE_MOUNT_NS"]
	o.exec.CgroupParent = o.raw["cgroup-parent"]
	o.exec.Hostname = o.raw["hostname"]
	if name := o.raw[optBuildArg+"BUILDKIT_SANDBOX_HOSTNAME"]; name != "" {
		o.exec.Hostname = name
	}
	var err error
	if o.exec.ExtraHosts, err = readHosts(o.raw["add-hosts"]); err != nil {
		return fmt.Errorf("failed to parse additional hosts: %w", err)
	}
	if text := o.raw["shm-size"]; text != "" {
		if o.exec.ShmSize, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("failed to parse shm size: %w", err)
		}
	}
	if o.exec.Ulimits, err = readUlimits(o.raw["ulimit"]); err != nil {
		return fmt.Errorf("failed to parse ulimit: %w", err)
	}
	if o.exec.Resources, err = readResources(o.raw); err != nil {
		return fmt.Errorf("failed to parse resource limits: %w", err)
	}
	switch mode := o.raw["force-network-mode"]; mode {
	case "", "sandbox":
	case "none":
		o.exec.Network = compose.NoNetwork
	case "host":
		o.exec.Network = compose.HostNetwork
	default:
		return fmt.Errorf("invalid netmode %s", mode)
	}
	return nil
}

// readHosts reads name=address pairs. Addresses are written back in their usual
// form, so that equal ones give equal steps.
func readHosts(text string) ([]compose.Host, error) {
	if text == "" {
		return nil, nil
	}
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return nil, err
	}
	var hosts []compose.Host
	for _, field := range fields {
		name, address, ok := strings.Cut(strings.ToLower(field), "=")
		if !ok {
			return nil, fmt.Errorf("invalid key-value pair %s", field)
		}
		ip := net.ParseIP(address)
		if ip == nil {
			return nil, fmt.Errorf("failed to parse IP %s", address)
		}
		hosts = append(hosts, compose.Host{Name: name, IP: ip.String()})
	}
	return hosts, nil
}

// readUlimits reads name=soft[:hard] limits.
func readUlimits(text string) ([]compose.Ulimit, error) {
	if text == "" {
		return nil, nil
	}
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return nil, err
	}
	var limits []compose.Ulimit
	for _, field := range fields {
		limit, err := units.ParseUlimit(field)
		if err != nil {
			return nil, err
		}
		limits = append(limits, compose.Ulimit{Name: limit.Name, Soft: limit.Soft, Hard: limit.Hard})
	}
	return limits, nil
}

// readResources reads limits for processes; nil if there are none.
func readResources(raw map[string]string) (*compose.Resources, error) {
	var limits compose.Resources
	for _, field := range []struct {
		name string
		to   *int64
	}{{"memory", &limits.Memory}, {"memswap", &limits.MemorySwap}, {"cpuquota", &limits.CPUQuota}} {
		if err := readSigned(field.name, raw[field.name], field.to); err != nil {
			return nil, err
		}
	}
	for _, field := range []struct {
		name string
		to   *uint64
	}{{"cpushares", &limits.CPUShares}, {"cpuperiod", &limits.CPUPeriod}} {
		if err := readUnsigned(field.name, raw[field.name], field.to); err != nil {
			return nil, err
		}
	}
	for _, field := range []struct {
		name string
		to   *string
	}{{"cpusetcpus", &limits.CPUs}, {"cpusetmems", &limits.MemoryNodes}} {
		*field.to = raw[field.name]
		if err := checkSet(*field.to); err != nil {
			return nil, fmt.Errorf("invalid %s value: %s: %w", field.name, *field.to, err)
		}
	}
	if limits == (compose.Resources{}) {
		return nil, nil
	}
	return &limits, nil
}

// readSigned reads a limit in bytes or microseconds. Only memory and swap
// together may be unlimited.
func readSigned(name, text string, to *int64) error {
	if text == "" {
		return nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("invalid %s value: %s: %w", name, text, err)
	}
	if name == "memswap" {
		if number < -1 || number == 0 {
			return fmt.Errorf("invalid %s value: %s: must be -1 (unlimited) or > 0", name, text)
		}
	} else if number <= 0 {
		return fmt.Errorf("invalid %s value: %s: must be > 0", name, text)
	}
	*to = number
	return nil
}

// readUnsigned reads a weight or a period.
func readUnsigned(name, text string, to *uint64) error {
	if text == "" {
		return nil
	}
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("invalid %s value: %s: %w", name, text, err)
	}
	if number == 0 {
		return fmt.Errorf("invalid %s value: %s: must be > 0", name, text)
	}
	*to = number
	return nil
}

// checkSet checks a list of numbers and ranges such as 0-3,7.
func checkSet(text string) error {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(low, 10, 32)
		if err != nil {
			return err
		}
		if !isRange {
			continue
		}
		last, err := strconv.ParseUint(high, 10, 32)
		if err != nil {
			return err
		}
		if last < first {
			return fmt.Errorf("range %s ends before it starts", part)
		}
	}
	return nil
}
