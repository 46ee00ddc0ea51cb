package buildxdriver

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/buildx/driver"
	"github.com/docker/cli/cli/config"
)

// The places of a kilnd that root runs; they are kilnd's own defaults.
const (
	defaultRoot  = "/var/lib/kiln"
	defaultState = "/run/kiln"
	socketName   = "kilnd.sock"
)

// options say where a node's kilnd is, and how to start one.
type options struct {
	// socket is the path clients connect to.
	socket string
	// root and state are the directories of a kilnd that is started.
	root, state string
	// ownRoot is set if the node's options name the root: nobody else is
	// meant to use it.
	ownRoot bool
	// room is the directory of the node below state.
	room string
	// containerd, namespace, config and program are empty where kilnd's own
	// defaults hold.
	containerd, namespace, config, program string
	// defaultLoad loads results without another output into the Docker Engine.
	defaultLoad bool
	// ignored is an endpoint that was taken for the Docker Engine's.
	ignored string
}

// parseOptions reads what `docker buildx create` was given.
func parseOptions(cfg driver.InitConfig, env func(string) (string, bool), uid int) (*options, error) {
	o := &options{root: defaultRoot}
	for key, value := range cfg.DriverOpts {
		if err := o.set(key, value); err != nil {
			return nil, err
		}
	}
	fromEndpoint, err := o.endpoint(cfg.EndpointAddr)
	if err != nil {
		return nil, err
	}
	named := o.ownRoot || o.state != ""
	if o.state == "" {
		// This is kilnd's rule for roots other than its default one.
		o.state = filepath.Join(o.root, "run")
		if !o.ownRoot {
			o.state = stateOf(uid, env)
		}
	}
	host, ok := env("KILN_HOST")
	switch {
	case o.socket != "":
	case fromEndpoint != "":
		o.socket = fromEndpoint
	case named || !ok || host == "":
		o.socket = filepath.Join(o.state, socketName)
	default:
		if o.socket, err = unixPath(host); err != nil {
			return nil, fmt.Errorf("read $KILN_HOST: %w", err)
		}
	}
	o.room = filepath.Join(o.state, "buildx-"+strings.TrimPrefix(cfg.Name, driver.BuilderName(""))+"-"+storeID(env))
	return o, nil
}

// set takes one driver option.
func (o *options) set(key, value string) (err error) {
	paths := map[string]*string{"root": &o.root, "state": &o.state, "config": &o.config, "kilnd": &o.program}
	texts := map[string]*string{"containerd": &o.containerd, "namespace": &o.namespace}
	switch {
	case key == "socket":
		o.socket, err = unixPath(value)
	case key == "default-load":
		o.defaultLoad, err = strconv.ParseBool(value)
	case paths[key] != nil && !filepath.IsAbs(value):
		err = fmt.Errorf("%q is not an absolute path", value)
	case paths[key] != nil:
		*paths[key] = filepath.Clean(value)
		o.ownRoot = o.ownRoot || key == "root"
	case texts[key] != nil:
		*texts[key] = value
	default:
		known := []string{"socket", "root", "state", "config", "kilnd", "containerd", "namespace", "default-load"}
		slices.Sort(known)
		return fmt.Errorf("driver option %q is unknown to the kiln driver, which has %s", key, strings.Join(known, ", "))
	}
	if err != nil {
		return fmt.Errorf("driver option %s: %w", key, err)
	}
	return nil
}

// endpoint returns the socket that the node's endpoint names. buildx puts the
// Docker Engine's there if the user has given none, and does not say which it
// is, so the name of the file has to tell.
func (o *options) endpoint(address string) (string, error) {
	if base := filepath.Base(address); base != socketName && base != "buildkitd.sock" {
		o.ignored = address
		return "", nil
	}
	path, err := unixPath(address)
	if err != nil {
		return "", fmt.Errorf("read endpoint: %w", err)
	}
	return path, nil
}

// unixPath returns the path of a socket's address, or of a plain path.
func unixPath(address string) (string, error) {
	path := strings.TrimPrefix(address, "unix://")
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not the address of a local socket (unix:///path); the remote driver reaches other machines", address)
	}
	return filepath.Clean(path), nil
}

// stateOf is the directory of kilnd's sockets: the system's, or the user's
// where this user may not use the system's.
func stateOf(uid int, env func(string) (string, bool)) string {
	dir, ok := env("XDG_RUNTIME_DIR")
	if uid == 0 || !ok || mayUse(filepath.Join(defaultState, socketName)) {
		return defaultState
	}
	return filepath.Join(dir, "kiln")
}

// storeID tells apart nodes of one name that stand in different stores of
// buildx, as each user has one.
func storeID(env func(string) (string, bool)) string {
	dir, ok := env("BUILDX_CONFIG")
	if !ok || dir == "" {
		dir = filepath.Join(config.Dir(), "buildx")
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(dir)))[:8]
}

// findProgram returns kilnd's path: the option, or the file beside this
// program, or the one in $PATH.
func (o *options) findProgram(lookPath func(string) (string, error)) (string, error) {
	if o.program != "" {
		return o.program, nil
	}
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			beside := filepath.Join(filepath.Dir(self), "kilnd")
			if st, err := os.Stat(beside); err == nil && st.Mode()&0o111 != 0 && st.Mode().IsRegular() {
				return beside, nil
			}
		}
	}
	path, err := lookPath("kilnd")
	if err != nil {
		return "", fmt.Errorf("find kilnd, which is neither beside this program nor in $PATH (--driver-opt kilnd=/path names it): %w", err)
	}
	return path, nil
}
