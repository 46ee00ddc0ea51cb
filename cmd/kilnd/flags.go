package main

import (
	"os"
	"time"

	"github.com/moby/sys/userns"
	"github.com/spf13/pflag"
)

// Flags are the values of the command line. They count only where the flag was given; see Settings.
type Flags struct {
	config, root, state, group, debugAddr    string
	logLevel, logFormat                      string
	tlsCert, tlsKey, tlsCA                   string
	otelSocket                               string
	addrs, entitlements, cdiSpecDirs         []string
	debug, trace, rootless, proxyNetwork     bool
	cdiDisabled, saveCacheDebug, noContainer bool

	oci, containerd workerFlags
	ociBinary       string
	ociProxyPath    string
	ociNoSandbox    bool
	ctrAddr, ctrNS  string
	ctrRuntime      string

	dockerAddrs []string
	sidecar     string
	namespace   string
	idleStop    time.Duration
	drain       time.Duration
}

// workerFlags are the flags that both worker sections have.
type workerFlags struct {
	enabled, snapshotter, network    string
	cniConfig, cniBinaries, apparmor string
	gcKeep                           string
	labels, platforms                []string
	cniPool, parallelism             int
	rootless, selinux, gc            bool
}

// register defines every flag. Repeatable flags are not split at commas.
func (f *Flags) register(fs *pflag.FlagSet, name string) {
	p := DefaultPaths(name)
	fs.StringVar(&f.config, "config", p.Config, "path to the configuration file; a missing file is fine")
	fs.BoolVar(&f.rootless, "rootless", userns.RunningInUserNS(), "run without root's rights, inside a user namespace")
	fs.BoolVar(&f.debug, "debug", false, "same as --log-level=debug")
	fs.BoolVar(&f.trace, "trace", false, "same as --log-level=trace")
	fs.StringVar(&f.logLevel, "log-level", "info", "trace, debug, info, warn, error or fatal (env BUILDKITD_LOG_LEVEL)")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fs.StringVar(&f.root, "root", p.Root, "directory for what must survive a restart")
	fs.StringVar(&f.state, "state", "", "directory for sockets (default "+p.State+", or run/ below a --root of one's own)")
	fs.StringArrayVar(&f.addrs, "addr", []string{p.Address}, "address to serve: unix://, tcp:// or fd:// (repeatable)")
	fs.StringVar(&f.group, "group", "", "group, by name or number, that may use the unix sockets")
	fs.StringVar(&f.debugAddr, "debugaddr", "", "address of the debug HTTP server (env BUILDKITD_DEBUGADDR)")
	fs.StringVar(&f.tlsCert, "tlscert", "", "certificate for TCP")
	fs.StringVar(&f.tlsKey, "tlskey", "", "key of the certificate")
	fs.StringVar(&f.tlsCA, "tlscacert", "", "CA that clients' certificates must be signed by")
	fs.StringArrayVar(&f.entitlements, "allow-insecure-entitlement", nil, "entitlement that builds may ask for: network.host, security.insecure, device (repeatable)")
	fs.BoolVar(&f.proxyNetwork, "proxy-network", false, "give every step the recorded proxy network")
	fs.StringVar(&f.otelSocket, "otel-socket-path", p.OTEL, "socket that takes traces from steps")
	fs.BoolVar(&f.cdiDisabled, "cdi-disabled", false, "no devices in steps")
	fs.StringArrayVar(&f.cdiSpecDirs, "cdi-spec-dir", []string{"/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"}, "directory with CDI specifications (repeatable)")
	fs.BoolVar(&f.saveCacheDebug, "save-cache-debug", false, "accepted as buildkitd's: what cache keys are made of is always kept")
	// A variable counts as a flag: over the file, and under the command line.
	for flag, variable := range map[string]string{"log-level": "BUILDKITD_LOG_LEVEL", "debugaddr": "BUILDKITD_DEBUGADDR"} {
		if value := os.Getenv(variable); value != "" {
			_ = fs.Set(flag, value) // texts are taken as they are
		}
	}
	f.registerKiln(fs)
	f.registerWorkers(fs)
	for _, hidden := range []string{"trace", "containerd-worker-platform", "containerd-worker-namespace", "containerd-worker-runtime"} {
		fs.Lookup(hidden).Hidden = true
	}
}

// registerKiln defines what buildkitd does not have.
func (f *Flags) registerKiln(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.dockerAddrs, "docker-addr", nil, "address to serve the Docker API on (repeatable; off unless set)")
	fs.StringVar(&f.sidecar, "containerd", "", "address of a running containerd to work in, instead of embedding one")
	fs.StringVar(&f.namespace, "namespace", "buildkit", "containerd namespace to work in")
	fs.DurationVar(&f.idleStop, "idle-stop", 0, "stop after so long without a client and a build; 0 is never")
	fs.DurationVar(&f.drain, "drain", 0, "let running builds end for so long at the first SIGTERM, taking no new ones; 0 cancels them")
	fs.BoolVar(&f.noContainer, "no-containerd-socket", false, "do not serve the embedded containerd on a socket")
}

func (f *Flags) registerWorkers(fs *pflag.FlagSet) {
	f.oci.register(fs, "oci-worker", "oci")
	fs.StringVar(&f.ociProxyPath, "oci-worker-proxy-snapshotter-path", "", "address of a proxy snapshotter")
	fs.StringVar(&f.ociBinary, "oci-worker-binary", "", "OCI runtime to run steps with")
	fs.BoolVar(&f.ociNoSandbox, "oci-worker-no-process-sandbox", false, "steps share the daemon's process namespace; needs rootless")

	f.containerd.register(fs, "containerd-worker", "containerd")
	fs.StringVar(&f.ctrAddr, "containerd-worker-addr", "/run/containerd/containerd.sock", "containerd's socket")
	fs.StringVar(&f.ctrNS, "containerd-worker-namespace", "buildkit", "containerd namespace")
	fs.StringVar(&f.ctrRuntime, "containerd-worker-runtime", "io.containerd.runc.v2", "containerd runtime")
}

// register defines the flags with the given prefix; the network ones and the limit have a shorter prefix.
func (w *workerFlags) register(fs *pflag.FlagSet, prefix, short string) {
	fs.StringVar(&w.enabled, prefix, "auto", "use the "+short+" settings: auto, true or false")
	fs.Lookup(prefix).NoOptDefVal = "true"
	fs.StringArrayVar(&w.labels, prefix+"-labels", nil, "label key=value of the worker (repeatable)")
	fs.StringVar(&w.snapshotter, prefix+"-snapshotter", "auto", "snapshotter")
	fs.StringArrayVar(&w.platforms, prefix+"-platform", nil, "platform to build for (repeatable)")
	fs.StringVar(&w.network, prefix+"-net", "auto", "network of steps: auto, bridge, cni or host")
	fs.StringVar(&w.apparmor, prefix+"-apparmor-profile", "", "AppArmor profile of steps")
	fs.BoolVar(&w.selinux, prefix+"-selinux", false, "SELinux labels for steps")
	fs.BoolVar(&w.rootless, prefix+"-rootless", false, "same as --rootless")
	fs.BoolVar(&w.gc, prefix+"-gc", true, "collect what the cache may not keep")
	fs.StringVar(&w.gcKeep, prefix+"-gc-keepstorage", "", "Reserved[,Free[,Max]] in MB")
	fs.StringVar(&w.cniConfig, short+"-cni-config-path", "/etc/buildkit/cni.json", "CNI configuration")
	fs.StringVar(&w.cniBinaries, short+"-cni-binary-dir", "/opt/cni/bin", "CNI plugins")
	fs.IntVar(&w.cniPool, short+"-cni-pool-size", 0, "networks prepared ahead")
	fs.IntVar(&w.parallelism, short+"-max-parallelism", 0, "steps at a time; 0 is unlimited")
}
