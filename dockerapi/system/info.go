package system

import (
	"bufio"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/dockerapi/route"
)

// indexServer is where clients keep their credentials for Docker Hub.
const indexServer = "https://index.docker.io/v1/"

// information is the answer of GET /info; what a builder does not have is zero.
type information struct {
	ID                                                     string
	Containers, ContainersRunning, ContainersPaused        int
	ContainersStopped, Images                              int
	Driver                                                 string
	DriverStatus                                           [][2]string
	Plugins                                                plugins
	MemoryLimit, SwapLimit                                 bool
	CPUCfsPeriod                                           bool `json:"CpuCfsPeriod"`
	CPUCfsQuota                                            bool `json:"CpuCfsQuota"`
	CPUShares, CPUSet, PidsLimit, IPv4Forwarding, Debug    bool
	NFd                                                    int
	OomKillDisable                                         bool
	NGoroutines                                            int
	SystemTime, LoggingDriver, CgroupDriver, CgroupVersion string
	NEventsListener                                        int
	KernelVersion, OperatingSystem, OSVersion, OSType      string
	Architecture, IndexServerAddress                       string
	RegistryConfig                                         registryConfig
	NCPU                                                   int
	MemTotal                                               int64
	GenericResources                                       []string
	DockerRootDir                                          string
	HTTPProxy                                              string `json:"HttpProxy"`
	HTTPSProxy                                             string `json:"HttpsProxy"`
	NoProxy, Name                                          string
	Labels                                                 []string
	ExperimentalBuild                                      bool
	ServerVersion                                          string
	Runtimes                                               map[string]runtimeInfo
	DefaultRuntime                                         string
	Swarm                                                  swarm
	LiveRestoreEnabled                                     bool
	Isolation, InitBinary                                  string
	ContainerdCommit, RuncCommit, InitCommit               commit
	SecurityOptions                                        []string
	CDISpecDirs                                            []string
	Containerd                                             *containerd `json:",omitempty"`
	// For clients before 1.50, which knew them.
	BridgeNfIptables, BridgeNfIp6tables *bool `json:",omitempty"`
	Warnings                            []string
}

type plugins struct{ Volume, Network, Authorization, Log []string }

type runtimeInfo struct {
	Path string `json:"path"`
}

type commit struct{ ID, Expected string }

// containerd is where images are.
type containerd struct {
	Address    string `json:",omitempty"`
	Namespaces struct{ Containers, Plugins string }
}

// swarm says that there is none.
type swarm struct {
	NodeID, NodeAddr string
	LocalNodeState   string
	ControlAvailable bool
	Error            string
	RemoteManagers   []string
}

// registryConfig is how registries are reached.
type registryConfig struct {
	InsecureRegistryCIDRs []string
	IndexConfigs          map[string]indexConfig
	Mirrors               []string
}

type indexConfig struct {
	Name             string
	Mirrors          []string
	Secure, Official bool
}

// info answers GET /info.
func (s *Server) info(w http.ResponseWriter, r *http.Request, _ string) error {
	v := route.VersionOf(r)
	out := information{
		ID: s.cfg.ID, Driver: s.cfg.Snapshotter, DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}},
		Plugins:     plugins{Volume: []string{}, Network: []string{}, Log: []string{}},
		MemoryLimit: true, SwapLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, CPUShares: true, CPUSet: true, PidsLimit: true,
		NGoroutines: runtime.NumGoroutine(), NEventsListener: s.cfg.Events.Listeners(),
		SystemTime: time.Now().Format(time.RFC3339Nano), LoggingDriver: "none", CgroupDriver: "cgroupfs", CgroupVersion: cgroupVersion(),
		KernelVersion: kernel(), OSType: runtime.GOOS, Architecture: machine(), IndexServerAddress: indexServer,
		RegistryConfig: s.registries(), NCPU: runtime.NumCPU(), MemTotal: memory(), DockerRootDir: s.cfg.Root,
		HTTPProxy: proxy("HTTP_PROXY"), HTTPSProxy: proxy("HTTPS_PROXY"), NoProxy: proxy("NO_PROXY"),
		Labels: []string{}, ServerVersion: s.cfg.Version, Swarm: swarm{LocalNodeState: "inactive"},
		ExperimentalBuild: true, SecurityOptions: []string{"name=seccomp,profile=builtin", "name=cgroupns"}, CDISpecDirs: s.cfg.CDISpecDirs,
		Runtimes: map[string]runtimeInfo{}, DefaultRuntime: s.cfg.Runtime, Warnings: []string{},
	}
	out.OperatingSystem, out.OSVersion = system()
	// A machine without a name is none the worse.
	out.Name, _ = os.Hostname()
	if s.cfg.Runtime != "" {
		out.Runtimes[s.cfg.Runtime] = runtimeInfo{Path: s.cfg.Runtime}
	}
	if s.cfg.CountImages != nil {
		n, err := s.cfg.CountImages(r.Context())
		if err != nil {
			return err
		}
		out.Images = n
	}
	if !v.Before(46) {
		out.Containerd = &containerd{Address: s.cfg.Containerd}
		out.Containerd.Namespaces.Containers, out.Containerd.Namespaces.Plugins = s.cfg.Namespace, s.cfg.Namespace
	}
	if v.Before(50) {
		out.BridgeNfIptables, out.BridgeNfIp6tables = new(bool), new(bool)
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

// registries tells how registries are reached.
func (s *Server) registries() registryConfig {
	out := registryConfig{
		InsecureRegistryCIDRs: []string{"::1/128", "127.0.0.0/8"}, Mirrors: []string{},
		IndexConfigs: map[string]indexConfig{"docker.io": {Name: "docker.io", Mirrors: []string{}, Secure: true, Official: true}},
	}
	for host, reg := range s.cfg.Registries {
		mirrors := append([]string{}, reg.Mirrors...)
		out.IndexConfigs[host] = indexConfig{Name: host, Mirrors: mirrors, Secure: !reg.Insecure, Official: host == "docker.io"}
		if host == "docker.io" {
			out.Mirrors = mirrors
		}
	}
	return out
}

// proxy is a setting of the daemon's environment without its password.
func proxy(name string) string {
	value := os.Getenv(name)
	if value == "" {
		value = os.Getenv(strings.ToLower(name))
	}
	scheme, rest, ok := strings.Cut(value, "://")
	if !ok {
		return value
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "xxxxx:xxxxx" + rest[i:]
	}
	return scheme + "://" + rest
}

// cgroupVersion is that of the hierarchy that is mounted.
func cgroupVersion() string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return "2"
	}
	return "1"
}

// machine is the name that the kernel has for the processor.
func machine() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return runtime.GOARCH
	}
	return unix.ByteSliceToString(u.Machine[:])
}

// memory is that of the machine, in bytes.
func memory() int64 {
	var i unix.Sysinfo_t
	if unix.Sysinfo(&i) != nil {
		return 0
	}
	return int64(i.Totalram) * int64(i.Unit)
}

// system is the name and version of the operating system.
func system() (name, version string) {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return runtime.GOOS, ""
	}
	defer f.Close()
	name = runtime.GOOS
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		if text, err := strconv.Unquote(value); err == nil {
			value = text
		}
		switch key {
		case "PRETTY_NAME":
			name = value
		case "VERSION_ID":
			version = value
		}
	}
	return name, version
}
