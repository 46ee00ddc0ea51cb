package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/cmd/kilnd/listen"
	"github.com/kilnbuild/kiln/plugin/config"
)

// Settings are what the daemon runs with: the file, with the flags that were given over it and defaults under it.
type Settings struct {
	*config.Config
	// State is the directory for sockets.
	State string
	// DockerAddrs are the addresses of the Docker API; none is off.
	DockerAddrs []string
	// Containerd is the address of a running containerd; empty embeds one.
	Containerd string
	// Namespace is the containerd namespace.
	Namespace string
	// IdleStop ends the daemon after so long without a client; 0 is never.
	IdleStop time.Duration
	// Drain is how long builds may go on after the first signal; 0 cancels them.
	Drain time.Duration
	// Rootless says that the daemon is not root outside.
	Rootless bool
	// Hangups say that the configuration is to be read again, which Again does:
	// flags stay over the file.
	Hangups <-chan os.Signal
	Again   func() (*Settings, error)
	// ServeContainerd says whether the embedded containerd gets a socket.
	ServeContainerd bool
}

// Told are the settings for a report, as plain data.
func (s *Settings) Told() any {
	return map[string]any{
		"config": s.Config, "state": s.State, "dockerAddrs": s.DockerAddrs, "containerd": s.Containerd, "namespace": s.Namespace,
		"idleStop": s.IdleStop.String(), "drain": s.Drain.String(), "rootless": s.Rootless, "containerdSocket": s.ServeContainerd,
	}
}

// Settings reads the file and puts the flags over it.
func (f *Flags) Settings(ctx context.Context, fs *pflag.FlagSet, paths Paths) (*Settings, error) {
	cfg, warnings, err := config.Load(f.config)
	if err != nil {
		return nil, err
	}
	if len(warnings) > 0 && !paths.Lenient {
		return nil, fmt.Errorf("configuration %s: %s: %w", f.config, warnings[0], errdefs.ErrInvalidArgument)
	}
	s := &Settings{
		Config: cfg, DockerAddrs: f.dockerAddrs, Containerd: f.sidecar, Namespace: f.namespace,
		IdleStop: choose(fs, "idle-stop", f.idleStop, cfg.Service.IdleStop.Duration), Drain: choose(fs, "drain", f.drain, cfg.Service.Drain.Duration),
		ServeContainerd: !f.noContainer,
	}
	if err := errors.Join(f.general(fs, cfg, paths), f.worker(fs, s)); err != nil {
		return nil, err
	}
	s.State = f.state
	if s.State == "" {
		s.State = paths.State
		// Daemons with roots of their own must not meet in one directory of sockets.
		if s.Root != paths.Root {
			s.State = filepath.Join(s.Root, "run")
		}
	}
	if !fs.Changed("otel-socket-path") && (s.OTEL.SocketPath == "" || s.OTEL.SocketPath == paths.OTEL) {
		s.OTEL.SocketPath = filepath.Join(s.State, filepath.Base(paths.OTEL))
	}
	s.Rootless = f.rootless || s.Workers.OCI.Rootless || s.Workers.Containerd.Rootless
	s.Workers.OCI.Rootless = s.Rootless
	if err := errors.Join(s.validate(), s.setLogging()); err != nil {
		return nil, err
	}
	for _, w := range warnings {
		log.G(ctx).Warnf("%s: %s (ignored)", f.config, w)
	}
	return s, nil
}

// choose returns what the flag says if it was given, else what the file says, else the flag's default.
func choose[T comparable](fs *pflag.FlagSet, flag string, given, file T) T {
	var unset T
	if fs.Changed(flag) || file == unset {
		return given
	}
	return file
}

// general applies the flags that are about no worker.
func (f *Flags) general(fs *pflag.FlagSet, cfg *config.Config, paths Paths) error {
	cfg.Root = choose(fs, "root", f.root, cfg.Root)
	cfg.Debug = choose(fs, "debug", f.debug, cfg.Debug)
	cfg.Trace = choose(fs, "trace", f.trace, cfg.Trace)
	cfg.Log.Level = choose(fs, "log-level", f.logLevel, cfg.Log.Level)
	cfg.Log.Format = choose(fs, "log-format", f.logFormat, cfg.Log.Format)
	cfg.GRPC.DebugAddress = choose(fs, "debugaddr", f.debugAddr, cfg.GRPC.DebugAddress)
	cfg.GRPC.TLS.Cert = choose(fs, "tlscert", f.tlsCert, cfg.GRPC.TLS.Cert)
	cfg.GRPC.TLS.Key = choose(fs, "tlskey", f.tlsKey, cfg.GRPC.TLS.Key)
	cfg.GRPC.TLS.CA = choose(fs, "tlscacert", f.tlsCA, cfg.GRPC.TLS.CA)
	cfg.OTEL.SocketPath = choose(fs, "otel-socket-path", f.otelSocket, cfg.OTEL.SocketPath)
	cfg.ProxyNetwork = choose(fs, "proxy-network", f.proxyNetwork, cfg.ProxyNetwork)
	cfg.ProvenanceEnvDir = cmp.Or(cfg.ProvenanceEnvDir, "/etc/buildkit/provenance.d")
	if fs.Changed("addr") || len(cfg.GRPC.Address) == 0 {
		cfg.GRPC.Address = f.addrs
	}
	if fs.Changed("allow-insecure-entitlement") {
		cfg.Entitlements = f.entitlements
	}
	if fs.Changed("cdi-disabled") {
		cfg.CDI.Disabled = &f.cdiDisabled
	}
	if fs.Changed("cdi-spec-dir") || len(cfg.CDI.SpecDirs) == 0 {
		cfg.CDI.SpecDirs = f.cdiSpecDirs
	}
	if f.group != "" {
		gid, err := listen.GroupID(f.group)
		if err != nil {
			return err
		}
		cfg.GRPC.GID = &gid
	}
	root, err := filepath.Abs(cfg.Root)
	cfg.Root = root
	return err
}

// worker applies the flags of both worker sections, and what they say about the namespace and the sidecar.
func (f *Flags) worker(fs *pflag.FlagSet, s *Settings) error {
	oci, ctr := &s.Workers.OCI, &s.Workers.Containerd
	err := errors.Join(
		f.oci.apply(fs, "oci-worker", "oci", workerTarget{
			&oci.Enabled, &oci.Labels, &oci.Platforms, &oci.Snapshotter, &oci.ApparmorProfile,
			&oci.SELinux, &oci.Rootless, &oci.MaxParallelism, &oci.Space, &oci.Network,
		}),
		f.containerd.apply(fs, "containerd-worker", "containerd", workerTarget{
			&ctr.Enabled, &ctr.Labels, &ctr.Platforms, &ctr.Snapshotter, &ctr.ApparmorProfile,
			&ctr.SELinux, &ctr.Rootless, &ctr.MaxParallelism, &ctr.Space, &ctr.Network,
		}),
	)
	oci.Binary = choose(fs, "oci-worker-binary", f.ociBinary, oci.Binary)
	oci.ProxySnapshotterPath = choose(fs, "oci-worker-proxy-snapshotter-path", f.ociProxyPath, oci.ProxySnapshotterPath)
	oci.NoProcessSandbox = choose(fs, "oci-worker-no-process-sandbox", f.ociNoSandbox, oci.NoProcessSandbox)
	ctr.Address = choose(fs, "containerd-worker-addr", f.ctrAddr, ctr.Address)
	ctr.Namespace = choose(fs, "containerd-worker-namespace", f.ctrNS, ctr.Namespace)
	ctr.Runtime.Name = choose(fs, "containerd-worker-runtime", f.ctrRuntime, ctr.Runtime.Name)

	// buildkitd's way of asking for a sidecar: the OCI worker off, the containerd worker on.
	if s.Containerd == "" && isFalse(oci.Enabled) && !isFalse(ctr.Enabled) {
		s.Containerd = ctr.Address
	}
	if s.Containerd == "" {
		return err
	}
	if !fs.Changed("namespace") {
		s.Namespace = ctr.Namespace
	}
	s.Workers.OCI = ctr.Steps()
	return err
}

func isFalse(b *bool) bool { return b != nil && !*b }

// workerTarget points at the fields of one section that the shared flags set.
type workerTarget struct {
	enabled     **bool
	labels      *map[string]string
	platforms   *[]string
	snapshotter *string
	apparmor    *string
	selinux     *bool
	rootless    *bool
	parallelism *int
	space       *config.Space
	network     *config.Network
}

// apply puts the shared flags of one section over the file.
func (w *workerFlags) apply(fs *pflag.FlagSet, prefix, short string, t workerTarget) error {
	if fs.Changed(prefix) && w.enabled != "auto" {
		on, err := strconv.ParseBool(w.enabled)
		if err != nil {
			return fmt.Errorf("--%s=%s: write auto, true or false: %w", prefix, w.enabled, errdefs.ErrInvalidArgument)
		}
		*t.enabled = &on
	}
	for _, label := range w.labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return fmt.Errorf("--%s-labels %q: write key=value: %w", prefix, label, errdefs.ErrInvalidArgument)
		}
		if *t.labels == nil {
			*t.labels = map[string]string{}
		}
		(*t.labels)[key] = value
	}
	if fs.Changed(prefix + "-platform") {
		*t.platforms = w.platforms
	}
	*t.snapshotter = choose(fs, prefix+"-snapshotter", w.snapshotter, *t.snapshotter)
	*t.apparmor = choose(fs, prefix+"-apparmor-profile", w.apparmor, *t.apparmor)
	*t.selinux = choose(fs, prefix+"-selinux", w.selinux, *t.selinux)
	*t.rootless = choose(fs, prefix+"-rootless", w.rootless, *t.rootless)
	*t.parallelism = choose(fs, short+"-max-parallelism", w.parallelism, *t.parallelism)
	t.network.Mode = choose(fs, prefix+"-net", w.network, t.network.Mode)
	t.network.CNIConfigPath = choose(fs, short+"-cni-config-path", w.cniConfig, t.network.CNIConfigPath)
	t.network.CNIBinaryPath = choose(fs, short+"-cni-binary-dir", w.cniBinaries, t.network.CNIBinaryPath)
	t.network.CNIPoolSize = choose(fs, short+"-cni-pool-size", w.cniPool, t.network.CNIPoolSize)
	t.network.BridgeName = cmp.Or(t.network.BridgeName, "buildkit0")
	t.network.BridgeSubnet = cmp.Or(t.network.BridgeSubnet, "10.10.0.0/16")
	if fs.Changed(prefix + "-gc") {
		t.space.GC = &w.gc
	}
	return keepStorage(prefix, w.gcKeep, t.space)
}

// keepStorage reads "Reserved[,Free[,Max]]", each a number of MB.
func keepStorage(prefix, text string, space *config.Space) error {
	if text == "" {
		return nil
	}
	fields := strings.Split(text, ",")
	targets := []*config.DiskSpace{&space.Reserved, &space.MinFree, &space.MaxUsed}
	if len(fields) > len(targets) {
		return fmt.Errorf("--%s-gc-keepstorage %q: write Reserved[,Free[,Max]]: %w", prefix, text, errdefs.ErrInvalidArgument)
	}
	for i, field := range fields {
		mb, err := strconv.ParseInt(strings.TrimSpace(field), 10, 64)
		if err != nil || mb < 0 || mb > 1<<40 {
			return fmt.Errorf("--%s-gc-keepstorage: %q is not a number of MB: %w", prefix, field, errdefs.ErrInvalidArgument)
		}
		*targets[i] = config.DiskSpace{Bytes: mb * 1e6}
	}
	return nil
}

// validate checks what can be checked before anything is opened.
func (s *Settings) validate() error {
	if s.IdleStop < 0 || s.Drain < 0 {
		return fmt.Errorf("times to stop after must not be negative: %w", errdefs.ErrInvalidArgument)
	}
	for _, e := range s.Entitlements {
		switch e {
		case "network.host", "security.insecure", "device":
		default:
			return fmt.Errorf("invalid entitlement : %s", e)
		}
	}
	if s.Workers.OCI.NoProcessSandbox && !s.Rootless {
		return fmt.Errorf("no process sandbox can be asked for in rootless mode only: %w", errdefs.ErrInvalidArgument)
	}
	return s.checkNamespace()
}

// setLogging sets the process's logger.
func (s *Settings) setLogging() error {
	level := s.Log.Level
	if s.Debug {
		level = "debug"
	}
	if s.Trace {
		level = "trace"
	}
	if err := log.SetLevel(level); err != nil {
		return fmt.Errorf("log level %q: %w", level, err)
	}
	if s.Log.Format != "text" && s.Log.Format != "json" {
		return fmt.Errorf("unsupported log type %q; use text or json", s.Log.Format)
	}
	if err := log.SetFormat(log.OutputFormat(s.Log.Format)); err != nil {
		return err
	}
	if toJournal(os.Getenv, os.Stderr) {
		useJournal(s.Log.Format)
	}
	return nil
}
