package overlay

import (
	"errors"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/userns"
)

// ErrNeedsMount says that the layer directories alone do not tell the content:
// the view has to be mounted.
var ErrNeedsMount = errors.New("layer uses overlayfs redirects or metadata-only copies and must be read through a mount")

// View is a pile of layer directories behind a list of mounts.
type View struct {
	// Dirs are the layer directories, topmost first, the writable one included.
	Dirs []string
	// Upper is the writable directory, the first of Dirs; empty if read-only.
	Upper string
	// Overlay is set if the mount is an overlay: then whiteouts in Upper have a
	// meaning. A bind mount shows its directory as it is.
	Overlay bool
	// Attrs is the attribute name space in use.
	Attrs Attrs
}

// harmless lists overlay options that do not change how directories are read.
var harmless = []string{"workdir", "index", "userxattr", "volatile", "fsync", "xino", "nfs_export", "ro", "rw",
	"redirect_dir", "metacopy", "uuid", "noatime", "relatime"}

// ParseView reads mounts as a snapshotter returns them: none, one bind or one
// overlay. It answers false for everything else, including options it does not
// know, such as those that shift ids.
func ParseView(mounts []mount.Mount) (View, bool) {
	v := View{Attrs: DefaultAttrs()}
	if len(mounts) == 0 {
		return v, true
	}
	m := mounts[0]
	if len(mounts) > 1 || m.Target != "" {
		return View{}, false
	}
	switch m.Type {
	case "bind", "rbind":
		v.Dirs = []string{m.Source}
		for _, o := range m.Options {
			if strings.Contains(o, "map=") {
				return View{}, false
			}
		}
		if !slices.Contains(m.Options, "ro") {
			v.Upper = m.Source
		}
		return v, true
	case "overlay":
		v.Overlay = true
		return v, v.parseOptions(m.Options)
	}
	return View{}, false
}

// parseOptions fills the view from overlay mount options.
func (v *View) parseOptions(options []string) bool {
	var lower []string
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "upperdir":
			v.Upper = unescape(value)
		case "lowerdir":
			dirs, ok := splitLower(value)
			if !ok {
				return false
			}
			lower = append(lower, dirs...)
		case "lowerdir+":
			lower = append(lower, value)
		default:
			if !slices.Contains(harmless, key) {
				return false
			}
			if key == "userxattr" {
				v.Attrs = UserAttrs
			}
		}
	}
	if v.Upper != "" {
		v.Dirs = append(v.Dirs, v.Upper)
	}
	v.Dirs = append(v.Dirs, lower...)
	return len(lower) > 0
}

// splitLower splits at colons that no backslash escapes. A double colon starts
// data-only layers, whose files cannot be found by path.
func splitLower(value string) ([]string, bool) {
	if strings.Contains(value, "::") {
		return nil, false
	}
	var dirs []string
	start := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case ':':
			dirs = append(dirs, unescape(value[start:i]))
			start = i + 1
		}
	}
	return append(dirs, unescape(value[start:])), true
}

// unescape drops the backslashes of an overlay option value.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Delta finds the directory that alone makes the difference between two views:
// upper must be lower with one more layer on top.
func Delta(lower, upper View) (dir string, ok bool) {
	if len(upper.Dirs) != len(lower.Dirs)+1 || !slices.Equal(upper.Dirs[1:], lower.Dirs) {
		return "", false
	}
	// A single directory below carries no sign of the attribute name space; two
	// overlays that disagree cannot be compared by reading.
	if lower.Overlay && upper.Overlay && lower.Attrs != upper.Attrs {
		return "", false
	}
	return upper.Dirs[0], true
}

// Attrs is an attribute name space of overlayfs.
type Attrs string

// The two name spaces.
const (
	TrustedAttrs Attrs = "trusted.overlay."
	UserAttrs    Attrs = "user.overlay."
)

// DefaultAttrs is the name space of mounts that do not tell: inside a user
// namespace trusted attributes cannot be read.
func DefaultAttrs() Attrs {
	if userns.RunningInUserNS() {
		return UserAttrs
	}
	return TrustedAttrs
}

// Own reports whether key is overlayfs's and no part of the content.
func (a Attrs) Own(key string) bool { return strings.HasPrefix(key, string(a)) }

// Foreign is the opposite of Own.
func (a Attrs) Foreign(key string) bool { return !a.Own(key) }
