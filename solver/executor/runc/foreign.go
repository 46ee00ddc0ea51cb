package runc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	confs "github.com/containerd/continuity/fs"
	"github.com/containerd/log"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/executor"
)

// Emulators knows how to run programs of other platforms.
type Emulators interface {
	// Find returns the program that a container needs to run those of p; "" if
	// they run as they are. The error says why they cannot run.
	Find(ctx context.Context, p ocispecs.Platform) (string, error)
	// Inject changes a configuration so that the kernel starts that program by
	// itself. On an error nothing is changed.
	Inject(ctx context.Context, p ocispecs.Platform, emulator string, s *specs.Spec) error
}

// emulatorPath is where a container has its emulator. Emulators that run the
// children of their program as well look for themselves there.
const emulatorPath = "/dev/.buildkit_qemu_emulator"

// Scripts are started the way the kernel does it, within its limits.
const (
	maxScriptLine  = 256
	maxScriptDepth = 4
)

// foreign is how a container runs programs of another platform; the zero value
// is for those that need nothing.
type foreign struct {
	// emulator is the path on the host; "" for none.
	emulator string
	// impossible says why programs of the platform will not run. A container
	// is tried all the same: an image may hold others than it says.
	impossible error
}

// foreign finds out what a container's platform needs.
func (e *Executor) foreign(ctx context.Context, c *executor.Container) foreign {
	if c.Platform == nil || e.cfg.Emulators == nil {
		return foreign{}
	}
	emulator, err := e.cfg.Emulators.Find(ctx, *c.Platform)
	return foreign{emulator: emulator, impossible: err}
}

// enter has the kernel start the emulator where it can: then also what the
// container's first program starts is emulated, whatever the emulator knows.
func (e *Executor) enter(ctx context.Context, b *bundle, c *executor.Container, s *specs.Spec) {
	if b.foreign.emulator == "" || c.Insecure {
		return // A user namespace would take from an insecure container what it was granted.
	}
	if err := e.cfg.Emulators.Inject(ctx, *c.Platform, b.foreign.emulator, s); err != nil {
		log.G(ctx).WithError(err).Debug("the emulator is not registered with the kernel: a container starts it itself")
		return
	}
	b.foreign.emulator = ""
}

// mounts are those of the emulator.
func (f foreign) mounts() []specs.Mount {
	if f.emulator == "" {
		return nil
	}
	return []specs.Mount{{
		Destination: emulatorPath, Type: "bind", Source: f.emulator, Options: []string{"rbind", "ro", "nosuid", "nodev"},
	}}
}

// arguments start a program under the emulator. It wants the path of the
// program, and cannot start scripts: what the kernel would do is done here. A
// program that is the machine's own, in an image that says otherwise, runs as it
// is: emulators turn it down.
func (f foreign) arguments(root string, args, env []string) []string {
	if f.emulator == "" {
		return args
	}
	asked := args
	args = append([]string{inPath(root, args[0], env)}, args[1:]...)
	for range maxScriptDepth {
		interpreter := scriptLine(root, args[0])
		if interpreter == nil {
			break
		}
		args = append(interpreter, args...)
	}
	if isNative(root, args[0]) {
		return asked
	}
	return append([]string{emulatorPath}, args...)
}

// explain adds to a failure that programs of the platform do not run here.
func (f foreign) explain(err error) error {
	if f.impossible == nil {
		return err
	}
	return fmt.Errorf("%w: %w", err, f.impossible)
}

// inPath finds a program the way a shell does. One that is not there stays as
// it is, for the emulator to complain about.
func inPath(root, name string, env []string) string {
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	for _, e := range env {
		list, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(list, ":") {
			candidate := path.Join("/", dir, name)
			if f, err := openProgram(root, candidate); err == nil {
				f.Close()
				return candidate
			}
		}
	}
	return name
}

// openProgram opens an executable file inside a root. Links are followed
// inside it; nothing runs there yet that could change them.
func openProgram(root, name string) (*os.File, error) {
	full, err := confs.RootPath(root, name)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(root, full)
	if err != nil {
		return nil, err
	}
	fi, err := os.Lstat(full)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Mode().Perm()&0o111 == 0 {
		return nil, fmt.Errorf("%s is not executable: %w", rel, os.ErrPermission)
	}
	// The handle stays in the root whatever happens to the path meanwhile.
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// A pipe in its place would block.
	return r.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// scriptLine reads a script's "#!" line: the interpreter and at most one
// argument; nil if the file is no script.
func scriptLine(root, name string) []string {
	if !path.IsAbs(name) {
		return nil
	}
	f, err := openProgram(root, name)
	if err != nil {
		return nil
	}
	defer f.Close()
	return parseScriptLine(f)
}

func parseScriptLine(r io.Reader) []string {
	line, err := bufio.NewReaderSize(io.LimitReader(r, maxScriptLine), maxScriptLine).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	text, ok := strings.CutPrefix(line, "#!")
	if !ok {
		return nil
	}
	interpreter, argument, _ := strings.Cut(strings.Trim(text, " \t\r\n"), " ")
	if !path.IsAbs(interpreter) || strings.ContainsRune(interpreter, 0) {
		return nil
	}
	if argument = strings.Trim(argument, " \t"); argument == "" || strings.ContainsRune(argument, 0) {
		return []string{interpreter}
	}
	return []string{interpreter, argument}
}
