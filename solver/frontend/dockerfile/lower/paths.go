package lower

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// windows is the one operating system with other paths.
const windows = "windows"

// Dockerfiles for Windows write paths with drive letters and backslashes;
// graphs hold neither. These functions take the operating system of the stage
// and return paths with slashes.

// toSlash replaces the system's separators with slashes.
func toSlash(p, system string) string {
	if system != windows {
		return p
	}
	return strings.ReplaceAll(p, `\`, "/")
}

// fromSlash is the opposite of toSlash.
func fromSlash(p, system string) string {
	if system != windows {
		return p
	}
	return strings.ReplaceAll(p, "/", `\`)
}

// withoutDrive removes the system drive's letter; other drives and network
// paths have no place in an image. On other systems the path comes back as it
// is.
func withoutDrive(p, system string, keepSlash bool) (string, error) {
	if system != windows {
		return p, nil
	}
	slashed := toSlash(p, system)
	drive, rest, hasDrive := strings.Cut(slashed, ":")
	switch {
	case len(p) == 2 && hasDrive && rest == "":
		return "", fmt.Errorf("No relative path specified in %q", p) //nolint:staticcheck // the text clients know
	case strings.HasPrefix(slashed, "//"):
		return "", errors.New("UNC paths are not supported")
	case hasDrive && !strings.EqualFold(drive, "c"):
		return "", errors.New("The specified path is not on the system drive (C:)") //nolint:staticcheck // the text clients know
	case !hasDrive:
		rest = slashed
	}
	cleaned := path.Clean(rest)
	if keepSlash && len(cleaned) > 1 && strings.HasSuffix(rest, "/") {
		cleaned += "/"
	}
	return cleaned, nil
}

// isAbs tells whether p is absolute inside an image of the system.
func isAbs(p, system string) bool {
	cleaned, err := withoutDrive(p, system, false)
	return err == nil && path.IsAbs(toSlash(cleaned, system))
}

// resolve makes p absolute, below parent if it is relative. keepSlash keeps a
// final slash or /. of p, which say that a destination is a directory.
func resolve(parent, p, system string, keepSlash bool) (string, error) {
	original := toSlash(p, system)
	dir, err := withoutDrive(toSlash(parent, system), system, keepSlash)
	if err != nil {
		return "", fmt.Errorf("removing drive letter: %w", err)
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", dir)
	}
	if original == "" {
		return dir, nil
	}
	out, err := withoutDrive(original, system, keepSlash)
	if err != nil {
		return "", fmt.Errorf("removing drive letter: %w", err)
	}
	if !path.IsAbs(out) {
		out = path.Join(dir, out)
	}
	if keepSlash {
		out = withFinal(out, original)
	}
	return out, nil
}

// withFinal gives p the final slash or /. that original has.
func withFinal(p, original string) string {
	switch {
	case strings.HasSuffix(original, "/") && !strings.HasSuffix(p, "/"):
		return p + "/"
	case strings.HasSuffix(original, "/."):
		return strings.TrimSuffix(p, "/") + "/."
	}
	return p
}

// cleanDest cleans an absolute destination but keeps its final slash or /.
func cleanDest(p string) string { return withFinal(path.Clean(path.Join("/", p)), p) }

// hasWildcard tells whether a pattern matches more than one name.
func hasWildcard(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}
