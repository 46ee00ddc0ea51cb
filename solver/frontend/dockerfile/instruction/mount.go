package instruction

import (
	"errors"
	"fmt"
	"strings"

	csvvalue "github.com/tonistiigi/go-csvvalue"
)

// MountType is what RUN --mount mounts.
type MountType string

// Types of mounts.
const (
	MountBind   MountType = "bind"
	MountCache  MountType = "cache"
	MountTmpfs  MountType = "tmpfs"
	MountSecret MountType = "secret"
	MountSSH    MountType = "ssh"
)

// mountTypes and sharings are proposed to those who mistype one.
var mountTypes = []string{string(MountBind), string(MountCache), string(MountSecret), string(MountSSH), string(MountTmpfs)}

// Ways to share a cache; an empty value is SharingShared.
const (
	SharingShared  = "shared"
	SharingPrivate = "private"
	SharingLocked  = "locked"
)

var sharings = []string{SharingLocked, SharingPrivate, SharingShared}

// Mount is one RUN --mount.
type Mount struct {
	Type MountType
	// From names a stage, context or image; "" is the build context (for
	// caches: nothing).
	From string
	// Source is a path in From; of a secret, its id.
	Source string
	// Target is where it appears; relative to the working directory.
	Target   string
	ReadOnly bool
	// Size of a tmpfs in bytes, 0 for no limit.
	Size int64
	// ID of a cache, secret or agent.
	ID string
	// Sharing of a cache, "" for the default.
	Sharing string
	// Required makes the step fail without the secret or agent.
	Required bool
	// Env names the variable that holds the secret, nil for none.
	Env *string
	// Mode, UID and GID are nil when not given.
	Mode, UID, GID *uint64
}

// parseMountSource reads what must be known before variables are: where the
// mount comes from.
func parseMountSource(text string) (*Mount, error) {
	fields, err := mountFields(text)
	if err != nil {
		return nil, err
	}
	mount := &Mount{}
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		if key = strings.ToLower(key); key != "from" {
			continue
		}
		if i := strings.IndexByte(value, '$'); i >= 0 && i != len(value)-1 {
			return nil, fmt.Errorf("'%s' doesn't support variable expansion, define alias stage instead", key)
		}
		mount.From = value
	}
	return mount, nil
}

// mountFields splits the flag at commas, with the quoting of CSV: values may
// contain commas.
func mountFields(text string) ([]string, error) {
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return nil, fmt.Errorf("failed to parse csv mounts: %w", err)
	}
	return fields, nil
}

// parseMount reads the whole mount.
func parseMount(text string, x Expander) (*Mount, error) {
	fields, err := mountFields(text)
	if err != nil {
		return nil, err
	}
	reading := &mountReader{Mount: Mount{Type: MountBind}}
	for _, field := range fields {
		if err := reading.field(field, x); err != nil {
			return nil, err
		}
	}
	if !reading.access {
		reading.ReadOnly = reading.Type != MountCache && reading.Type != MountTmpfs
	}
	mount := reading.Mount
	return &mount, mount.check()
}

// check refuses combinations that make no sense.
func (m *Mount) check() error {
	if m.Type == MountBind || m.Type == MountTmpfs {
		for _, field := range []struct {
			name  string
			value *uint64
		}{{"mode", m.Mode}, {"uid", m.UID}, {"gid", m.GID}} {
			if field.value != nil {
				return fmt.Errorf("%s not allowed for %q type mounts", field.name, m.Type)
			}
		}
	}
	if m.Type == MountSecret {
		switch {
		case m.From != "":
			return errors.New("secret mount should not have a from")
		case m.Sharing != "":
			return errors.New("secret mount should not define sharing")
		case m.Source == "" && m.Target == "" && m.ID == "":
			return errors.New("invalid secret mount. one of source, target required")
		case m.Source != "" && m.ID != "":
			return errors.New("both source and id can't be set")
		}
	}
	if m.Sharing != "" && m.Type != MountCache {
		return fmt.Errorf("invalid cache sharing set for %v mount", m.Type)
	}
	return nil
}
