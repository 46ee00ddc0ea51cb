package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// treeRoot finds the root of the tree the test runs in.
var treeRoot = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
})

// Tree returns the root directory of this repository's tree.
func Tree() (string, error) { return treeRoot() }

// built remembers what this process has built, by name.
var built sync.Map

// Program builds kilnd, kiln or docker-buildx from this tree and returns its
// path. The first call of a process builds what changed since the last run,
// later ones do nothing.
func Program(ctx context.Context, name string) (string, error) {
	once, _ := built.LoadOrStore(name, sync.OnceValues(func() (string, error) { return buildProgram(ctx, name) }))
	return once.(func() (string, error))()
}

func buildProgram(ctx context.Context, name string) (string, error) {
	root, err := treeRoot()
	if err != nil {
		return "", err
	}
	// Clones of one user must not take each other's programs.
	dir := filepath.Join(cacheRoot(), "programs", fmt.Sprintf("%x", sha256.Sum256([]byte(root)))[:12])
	unlock, err := lock(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(dir, name)
	if name == "docker-buildx" { // A module of its own, which the Makefile builds without paths of the machine.
		return path, goBuild(ctx, filepath.Join(root, "buildxdriver"), path, "./cmd/"+name, "-ldflags", "-s -w", "-trimpath")
	}
	return path, goBuild(ctx, root, path, "./cmd/"+name, "-ldflags", "-s -w")
}

// client is where a foreign program comes from.
type client struct {
	pkg string
	// version is the variable that the program prints as its version; clients
	// check each other's.
	version string
	// module is the folder of the module that pins it, where that is not the
	// one for all: clients that cannot agree on versions have their own.
	module string
	// trim leaves out the machine's paths, as the Makefile does for the module
	// buildxdriver, which pins the same versions: both are compiled once.
	trim bool
}

// clients are the programs of test/interop/tools.
var clients = map[string]client{
	"buildctl": {pkg: "github.com/moby/buildkit/cmd/buildctl", version: "github.com/moby/buildkit/version.Version=v0.32.2", trim: true},
	"buildx":   {pkg: "github.com/docker/buildx/cmd/buildx", version: "github.com/docker/buildx/version.Version=v0.36.1", trim: true},
	"docker":   {pkg: "github.com/docker/cli/cmd/docker", version: "github.com/docker/cli/cli/version.Version=29.6.2", trim: true},
	"ctr":      {pkg: "github.com/containerd/containerd/v2/cmd/ctr", version: "github.com/containerd/containerd/v2/version.Version=v2.4.2"},
	"containerd": {
		pkg: "github.com/containerd/containerd/v2/cmd/containerd", version: "github.com/containerd/containerd/v2/version.Version=v2.4.2",
	},
	"containerd-shim-runc-v2": {
		pkg:     "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
		version: "github.com/containerd/containerd/v2/version.Version=v2.4.2",
	},
	"compose": {
		pkg: "github.com/docker/compose/v5/cmd", version: "github.com/docker/compose/v5/internal.Version=v5.5.1",
		module: "compose", trim: true,
	},
	"nerdctl": {
		pkg: "github.com/containerd/nerdctl/v2/cmd/nerdctl", version: "github.com/containerd/nerdctl/v2/pkg/version.Version=v2.2.1",
		module: "nerdctl",
	},
}

// Client builds one of the clients, for example buildctl, once per user and pinned version,
// and returns its path.
func Client(ctx context.Context, name string) (string, error) {
	once, _ := built.LoadOrStore(name, sync.OnceValues(func() (string, error) { return buildClient(ctx, name) }))
	return once.(func() (string, error))()
}

func buildClient(ctx context.Context, name string) (string, error) {
	from, ok := clients[name]
	if !ok {
		return "", fmt.Errorf("build client %s: no such client", name)
	}
	root, err := treeRoot()
	if err != nil {
		return "", err
	}
	tools := filepath.Join(root, "test", "interop", "tools", from.module)
	pins, err := os.ReadFile(filepath.Join(tools, "go.sum"))
	if err != nil {
		return "", fmt.Errorf("read the clients' versions: %w", err)
	}
	dir := filepath.Join(cacheRoot(), "clients", fmt.Sprintf("%x", sha256.Sum256(append(pins, from.version...)))[:12])
	unlock, err := lock(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	return path, goBuild(ctx, tools, path, from.pkg, "-ldflags", "-s -w -X "+from.version, fmt.Sprintf("-trimpath=%t", from.trim))
}

// goBuild builds a package of the module in dir. The go command leaves a
// program alone that is as it would be built, and replaces one that runs.
func goBuild(ctx context.Context, dir, path, pkg string, flags ...string) error {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-buildvcs=false"}, flags...), "-o", path, pkg)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// cacheRoot is the folder for programs: the user's cache folder, or the
// temporary one for a user without a home.
func cacheRoot() string {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	return filepath.Join(base, "kiln")
}

// lock makes dir and keeps other processes from building in it.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create programs folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock programs folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock programs folder: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil // Closing unlocks.
}
