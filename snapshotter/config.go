package snapshotter

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"
)

// Config are the inputs of New. The zero value is a good configuration:
// everything durable, nothing limited.
type Config struct {
	// MountOptions are added to every overlay mount, for example
	// "xino=auto" or "context=...". An option named here is never also set by
	// the snapshotter itself, so "index=on" wins over the default "index=off".
	MountOptions []string

	// DeferSync leaves the flushes of Commit and of the database to Sync. The
	// death of the process is as harmless as without; a power failure goes back
	// to what Sync last confirmed, where every name still stands for a whole
	// layer. For a caller that calls Sync before it makes names durable itself.
	DeferSync bool

	// NoSyncOnCommit leaves it to the kernel when the files of a committed
	// layer reach the disk. Commit is then faster, survives the death of the
	// process, and after a power failure may name a layer with empty files.
	// For state that is thrown away at boot, and for tests.
	NoSyncOnCommit bool

	// NoMetadataSync skips the flush at the end of metadata transactions. The
	// death of the process is harmless, a power failure can leave names without
	// their layers. For state that is thrown away at boot, and for tests.
	NoMetadataSync bool

	// RemapIDs passes the uidmapping and gidmapping labels of a snapshot on as
	// mount options (idmapped lower directories). Set it when the kernel
	// supports idmapped overlay layers; the caller advertises the capability
	// "remap-ids" with it.
	RemapIDs bool

	// CleanupLimit bounds the time one Cleanup spends deleting; what is left
	// is for the next call. Zero is no limit beyond the context's.
	CleanupLimit time.Duration

	// Now is the clock of Created and Updated; nil is time.Now.
	Now func() time.Time
}

// syncInterval is safebolt's: who defers says when, who does not has nothing
// left to sync.
func (c *Config) syncInterval() time.Duration {
	if c.DeferSync {
		return 0
	}
	return -1
}

// validate refuses what would only fail later, at mount time.
func (c *Config) validate(root string) error {
	// Overlay's option syntax separates with these three. Escaping works in
	// some kernels and for some options only, so a root with them is refused.
	if strings.ContainsAny(root, `,:\`) {
		return fmt.Errorf("snapshot root %q: choose a path without comma, colon or backslash: %w", root, errdefs.ErrInvalidArgument)
	}
	for _, o := range c.MountOptions {
		name, _, _ := strings.Cut(o, "=")
		if slices.Contains([]string{"", "lowerdir", "upperdir", "workdir", "volatile"}, name) || strings.Contains(o, ",") {
			return fmt.Errorf("mount option %q: one option each, and not one the snapshotter sets itself: %w", o, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// overlayOptions are the options of every overlay mount on this kernel.
func (c *Config) overlayOptions() []string {
	options := slices.Clone(c.MountOptions)
	set := func(name string) bool {
		return slices.ContainsFunc(options, func(o string) bool {
			n, _, _ := strings.Cut(o, "=")
			return n == name
		})
	}
	inUserNS := userns.RunningInUserNS() && kernelAtLeast(5, 11)
	if inUserNS && !set("userxattr") {
		options = append(options, "userxattr")
	}
	// An index ties an upper directory to its lower ones by file handle, which
	// breaks as soon as a layer is used on top of another chain.
	if overlayParameter("index") != "" && !set("index") {
		options = append(options, "index=off")
	}
	// Where a distribution turns these on by default, an upper directory would
	// no longer hold whole files and whole directories, so it could neither be
	// read as a layer nor be linked from. With userxattr they are off anyway.
	for _, name := range []string{"metacopy", "redirect_dir"} {
		if overlayParameter(name) == "Y" && !inUserNS && !set(name) {
			options = append(options, name+"=off")
		}
	}
	return options
}

// overlayParameter is the value of a parameter of the overlay module, or ""
// when this kernel does not have it.
func overlayParameter(name string) string {
	b, err := os.ReadFile("/sys/module/overlay/parameters/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// kernelAtLeast compares the running kernel's release; an unreadable release
// counts as old.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var ma, mi int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &ma, &mi); err != nil {
		return false
	}
	return ma > major || ma == major && mi >= minor
}
