package singlefile

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"unicode"

	"github.com/containerd/errdefs"
)

// Names of attributes on the wire.
const (
	AttrFilename = "http.filename"
	AttrPerm     = "http.perm"
	AttrUID      = "http.uid"
	AttrGID      = "http.gid"
)

const (
	// FallbackName is what a file is called when its name is of no use.
	FallbackName = "download"
	// MaxName is the longest name a file can have, in bytes.
	MaxName = 255
	// DefaultPerm is the mode of files that no attribute gives one.
	DefaultPerm = 0o600
	// maxID is the greatest user or group id that a file can have.
	maxID = 1<<32 - 2
)

// Attributes are what a source op says of its file. They are part of keys as
// they are written, whatever they come to.
type Attributes struct {
	// Filename as wished; empty for whatever it is called where it comes from.
	Filename string
	// Perm has mode bits; 0 for DefaultPerm.
	Perm     int
	UID, GID int
}

// ParseAttributes reads attributes by their wire names. Numbers are in any base
// that their prefix says. Errors are errdefs InvalidArgument.
func ParseAttributes(attrs map[string]string) (Attributes, error) {
	out := Attributes{Filename: attrs[AttrFilename]}
	for _, n := range []struct {
		name  string
		to    *int
		limit int64
	}{{AttrPerm, &out.Perm, 0o7777}, {AttrUID, &out.UID, maxID}, {AttrGID, &out.GID, maxID}} {
		v, ok := attrs[n.name]
		if !ok {
			continue
		}
		i, err := strconv.ParseInt(v, 0, 64)
		if err != nil || i < 0 || i > n.limit {
			return Attributes{}, fmt.Errorf("attribute %s is %q, want a number from 0 to %#o: %w", n.name, v, n.limit, errdefs.ErrInvalidArgument)
		}
		*n.to = int(i)
	}
	return out, nil
}

// mode is what the file gets. Only permissions: nothing from elsewhere becomes
// a set-id program.
func (a Attributes) mode() os.FileMode {
	if a.Perm == 0 {
		return DefaultPerm
	}
	return os.FileMode(a.Perm) & 0o777
}

// SafeName keeps the last component of a name, or replaces it by FallbackName:
// it stops names such as "../x", "/etc/passwd" and ones with control
// characters.
func SafeName(s string) string {
	name := path.Base(strings.TrimSpace(s))
	switch {
	case name == ".", name == "..", name == "/", len(name) > MaxName, strings.ContainsFunc(name, unicode.IsControl):
		return FallbackName
	}
	return name
}
