package file

import (
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// cleanPath is the path below "/" with the ending that means something: "/" or
// "/.".
func cleanPath(p string) string {
	out := path.Join("/", p)
	switch {
	case strings.HasSuffix(p, "/."):
		return strings.TrimSuffix(out, "/") + "/."
	case strings.HasSuffix(p, "/") && out != "/":
		return out + "/"
	}
	return out
}

// hasWildcard reports whether path.Match would treat s as a pattern.
func hasWildcard(s string) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// glob returns the paths that a pattern matches, in byte order of their
// components. Links on the way to the first component with a wildcard are
// followed, the last of them if follow is set, and none below it. A pattern
// without wildcards is itself the answer, without ending, whether it exists or
// not.
func (t *tree) glob(pattern string, follow bool) ([]string, error) {
	parts := strings.Split(strings.Trim(path.Clean(pattern), "/"), "/")
	n := 0
	for n < len(parts) && !hasWildcard(parts[n]) {
		n++
	}
	fixed := "/" + strings.Join(parts[:n], "/")
	if n == len(parts) {
		return []string{fixed}, nil
	}
	at, err := t.resolve(fixed, follow)
	if err != nil {
		return nil, err
	}
	defer at.close()
	if _, ok, err := at.stat(); err != nil || !ok {
		if err == nil {
			err = &fs.PathError{Op: "lstat", Path: at.path(), Err: unix.ENOENT}
		}
		return nil, err
	}
	if len(at.rest) > 0 {
		return nil, nil // a file or link: nothing is below it
	}
	var out []string
	err = matches(at.dir, parts[n:], &out)
	return out, err
}

// matches appends the paths below d that match, one component after the other.
func matches(d *dir, parts []string, out *[]string) error {
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		// A malformed pattern matches nothing (wire format fact).
		if ok, _ := path.Match(parts[0], name); !ok {
			continue
		}
		if len(parts) == 1 {
			*out = append(*out, d.below(name))
			continue
		}
		st, err := d.lstat(name)
		if err != nil {
			return d.fault("lstat", name, err)
		}
		if !isDir(&st) {
			continue // links to directories are not entered
		}
		c, err := d.child(name)
		if err != nil {
			return err
		}
		err = matches(c, parts[1:], out)
		c.close()
		if err != nil {
			return err
		}
	}
	return nil
}
