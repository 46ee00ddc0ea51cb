package compose

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Network is what a process can reach.
type Network int

// Networks.
const (
	// SandboxNetwork is a network of its own with a way out.
	SandboxNetwork Network = iota
	// HostNetwork is that of the builder's machine; needs an entitlement.
	HostNetwork
	// NoNetwork has loopback only.
	NoNetwork
)

// Security is what a process may do.
type Security int

// Levels of security.
const (
	// Sandbox is the usual container.
	Sandbox Security = iota
	// Insecure has all privileges; needs an entitlement.
	Insecure
)

// Exec describes a process.
type Exec struct {
	// Args is the program and its arguments.
	Args []string
	// Env entries are NAME=value.
	Env []string
	// Dir is the working directory; empty means "/".
	Dir string
	// User is name or number, optionally with a group; empty means root.
	User string
	// Hostname and CgroupParent are the builder's choice when empty.
	Hostname, CgroupParent string
	Network                Network
	Security               Security
	// Mounts have exactly one Bind at "/", the root.
	Mounts []Mount
	// Hosts are extra lines of /etc/hosts.
	Hosts   []Host
	Ulimits []Ulimit
	// Proxy variables are seen by the process and not by the cache; nil for
	// none.
	Proxy *Proxy
	// SecretEnv puts secrets into environment variables.
	SecretEnv []SecretEnv
	// Devices are asked for by CDI name.
	Devices []Device
	// ValidExitCodes are those that count as success; empty means 0.
	ValidExitCodes []int
}

// Host maps a name to an address.
type Host struct{ Name, IP string }

// Ulimit is a resource limit.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Proxy holds proxy variables.
type Proxy struct{ HTTP, HTTPS, FTP, No, All string }

// SecretEnv is a secret of the client as an environment variable.
type SecretEnv struct {
	// ID of the secret; empty means Name.
	ID, Name string
	// Optional sets the variable empty when there is no secret.
	Optional bool
}

// Device is a device by CDI name.
type Device struct {
	Name     string
	Optional bool
}

// Process is a command with its outputs.
type Process struct {
	outputs map[string]State
	err     error
}

// Root returns the root file system after the command.
func (p Process) Root() State { return p.Output("/") }

// Output returns what is at a Bind mount after the command: for a read-only
// one what it was before. Other mounts leave nothing to be used.
func (p Process) Output(dest string) State {
	if p.err != nil {
		return Failed(p.err)
	}
	state, ok := p.outputs[dest]
	if !ok {
		return Failed(fmt.Errorf("no output at %s: no bind mount is there", dest))
	}
	return state
}

// Run runs a command.
func Run(exec Exec, info Info) Process {
	if err := exec.check(); err != nil {
		return Process{err: err}
	}
	exec.Mounts = sortMounts(exec.Mounts)
	exec.placeAgents()
	var inputs []State
	for _, mount := range exec.Mounts {
		inputs = append(inputs, mount.Source)
		if mount.Dest == "/" {
			info = info.inherit(mount.Source)
		}
	}
	base := newState(&execOp{exec: exec, resources: info.Resources != nil}, info, inputs...)
	process := Process{outputs: map[string]State{}, err: base.err}
	index := 0
	for _, mount := range exec.Mounts {
		switch {
		case mount.hasOutput():
			process.outputs[mount.Dest] = State{node: base.node, index: index}
			index++
		case mount.Type == Bind && mount.ReadOnly:
			process.outputs[mount.Dest] = mount.Source
		case mount.Type == Bind:
			process.outputs[mount.Dest] = Failed(fmt.Errorf("no output at %s: the mount drops what is written", mount.Dest))
		}
	}
	return process
}

// check finds what makes a command impossible on its own.
func (x Exec) check() error {
	if len(x.Args) == 0 {
		return errors.New("run without arguments")
	}
	seen := map[string]bool{}
	for _, mount := range x.Mounts {
		if mount.Dest == "" && mount.Type != SSH {
			return errors.New("mount without a destination")
		}
		if mount.Dest != "" && seen[mount.Dest] {
			return fmt.Errorf("two mounts at %s", mount.Dest)
		}
		seen[mount.Dest] = true
		if mount.Dest == "/" && mount.Type != Bind {
			return errors.New("the root must be a bind mount")
		}
		if !mount.Source.IsScratch() && mount.Type != Bind && mount.Type != Cache {
			return fmt.Errorf("mount at %s takes no source", mount.Dest)
		}
	}
	if !seen["/"] {
		return errors.New("run without a root mount")
	}
	return nil
}

// placeAgents gives agents a place and tells the process of the first one.
// Mounts are sorted and the caller's no more.
func (x *Exec) placeAgents() {
	count := 0
	first := ""
	for i := range x.Mounts {
		mount := &x.Mounts[i]
		if mount.Type != SSH {
			continue
		}
		mount.Dest = or(mount.Dest, fmt.Sprintf("/run/buildkit/ssh_agent.%d", count))
		first = or(first, mount.Dest)
		count++
	}
	if first != "" && !hasEnv(x.Env, "SSH_AUTH_SOCK") {
		x.Env = append(slices.Clone(x.Env), "SSH_AUTH_SOCK="+first)
	}
}

func hasEnv(env []string, name string) bool {
	return slices.ContainsFunc(env, func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
}

// execOp is a checked command with sorted mounts.
type execOp struct {
	exec      Exec
	resources bool
}

func (x *execOp) encode(e *encoding) error {
	e.need("exec.meta.base")
	e.forPlatform()
	op := &pb.ExecOp{
		Meta:     x.encodeMeta(e),
		Network:  pb.NetMode(x.exec.Network),
		Security: pb.SecurityMode(x.exec.Security),
	}
	e.needIf(x.exec.Network != SandboxNetwork, "exec.meta.network")
	e.needIf(x.exec.Security != Sandbox, "exec.meta.security")
	e.needIf(x.resources, capResources)
	for _, device := range x.exec.Devices {
		e.need("exec.meta.cdi")
		op.CdiDevices = append(op.CdiDevices, &pb.CDIDevice{Name: device.Name, Optional: device.Optional})
	}
	for _, secret := range x.exec.SecretEnv {
		e.need("exec.mount.secret", "exec.secretenv")
		op.Secretenv = append(op.Secretenv, &pb.SecretEnv{ID: or(secret.ID, secret.Name), Name: secret.Name, Optional: secret.Optional})
	}
	index := int64(0)
	for _, mount := range x.exec.Mounts {
		output := int64(scratchIndex)
		switch {
		case mount.hasOutput():
			output = index
			index++
		case mount.Type == Secret || mount.Type == SSH:
			// What everybody writes; it says nothing.
			output = 0
		}
		op.Mounts = append(op.Mounts, mount.encode(e, output))
	}
	e.op.Op = &pb.Op_Exec{Exec: op}
	return nil
}

// defaultPath is what a builder sets that has exec.meta.setsdefaultpath.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (x *execOp) encodeMeta(e *encoding) *pb.Meta {
	exec := x.exec
	meta := &pb.Meta{
		Args:         exec.Args,
		Env:          exec.Env,
		Cwd:          or(exec.Dir, "/"),
		User:         exec.User,
		Hostname:     exec.Hostname,
		CgroupParent: exec.CgroupParent,
		// As all clients do by now.
		RemoveMountStubsRecursive: true,
	}
	if e.supports("exec.meta.setsdefaultpath") {
		e.need("exec.meta.setsdefaultpath")
	} else if e.platform.OS != "windows" && !hasEnv(exec.Env, "PATH") {
		meta.Env = append(slices.Clone(exec.Env), defaultPath)
	}
	e.needIf(exec.CgroupParent != "", "exec.meta.cgroup.parent")
	for _, host := range exec.Hosts {
		meta.ExtraHosts = append(meta.ExtraHosts, &pb.HostIP{Host: host.Name, IP: host.IP})
	}
	for _, limit := range exec.Ulimits {
		e.need("exec.meta.ulimit")
		meta.Ulimit = append(meta.Ulimit, &pb.Ulimit{Name: limit.Name, Soft: limit.Soft, Hard: limit.Hard})
	}
	for _, code := range exec.ValidExitCodes {
		e.need("exec.validexitcode")
		meta.ValidExitCodes = append(meta.ValidExitCodes, int32(code))
	}
	if p := exec.Proxy; p != nil {
		e.need("exec.meta.proxyenv")
		meta.ProxyEnv = &pb.ProxyEnv{HttpProxy: p.HTTP, HttpsProxy: p.HTTPS, FtpProxy: p.FTP, NoProxy: p.No, AllProxy: p.All}
	}
	return meta
}
