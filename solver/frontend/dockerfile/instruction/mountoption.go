package instruction

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/suggest"
)

// mountReader is a mount whose options are being read, in order: some only
// exist for the type read so far.
type mountReader struct {
	Mount
	// access tells that read-only or read-write was said.
	access bool
}

// mountKeys are proposed to those who mistype one.
var mountKeys = []string{
	"type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid", "src", "dst",
	"destination", "ro", "rw", "readwrite", "env",
}

// field reads key=value, or a key that needs no value.
func (m *mountReader) field(field string, x Expander) error {
	key, value, hasValue := strings.Cut(field, "=")
	key = strings.ToLower(key)
	if !hasValue {
		switch key {
		case "readonly", "ro", "readwrite", "rw", "required":
			value = "true"
		default:
			return fmt.Errorf("invalid field '%s' must be a key=value pair", field)
		}
	} else {
		var err error
		if value, err = x.Word(value); err != nil {
			return err
		}
	}
	known, err := m.text(key, value)
	if !known {
		known, err = m.flag(key, value)
	}
	if !known {
		known, err = m.number(key, value)
	}
	if !known {
		return suggest.Error(fmt.Errorf("unexpected key '%s' in '%s'", key, field), key, mountKeys)
	}
	return err
}

// text sets an option that is a text.
func (m *mountReader) text(key, value string) (known bool, err error) {
	switch key {
	case "type":
		kind := strings.ToLower(value)
		if !slices.Contains(mountTypes, kind) {
			return true, suggest.Error(fmt.Errorf("unsupported mount type %q", value), value, mountTypes)
		}
		m.Type = MountType(kind)
	case "from":
		m.From = value
	case "source", "src":
		m.Source = value
	case "target", "dst", "destination":
		m.Target = value
	case "id":
		m.ID = value
	case "env":
		m.Env = &value
	case "sharing":
		if m.Sharing = strings.ToLower(value); !slices.Contains(sharings, m.Sharing) {
			return true, suggest.Error(fmt.Errorf("unsupported sharing value %q", value), value, sharings)
		}
	default:
		return false, nil
	}
	return true, nil
}

// flag sets an option that is true or false.
func (m *mountReader) flag(key, value string) (known bool, err error) {
	switch key {
	case "readonly", "ro", "readwrite", "rw":
		on, err := parseBool(key, value)
		if err != nil {
			return true, err
		}
		m.access = true
		m.ReadOnly = on == (key == "readonly" || key == "ro")
	case "required":
		if m.Type != MountSecret && m.Type != MountSSH {
			return true, m.unexpected(key)
		}
		m.Required, err = parseBool(key, value)
		return true, err
	default:
		return false, nil
	}
	return true, nil
}

// number sets an option that is a number.
func (m *mountReader) number(key, value string) (known bool, err error) {
	switch key {
	case "size":
		if m.Type != MountTmpfs {
			return true, m.unexpected(key)
		}
		if m.Size, err = units.RAMInBytes(value); err != nil {
			return true, errInvalid(key, value)
		}
	case "mode":
		m.Mode, err = parseUint(key, value, 8)
	case "uid":
		m.UID, err = parseUint(key, value, 10)
	case "gid":
		m.GID, err = parseUint(key, value, 10)
	default:
		return false, nil
	}
	return true, err
}

// unexpected is the error for a key that another type of mount has.
func (m *mountReader) unexpected(key string) error {
	return fmt.Errorf("unexpected key '%s' for mount type '%s'", key, m.Type)
}

func errInvalid(key, value string) error { return fmt.Errorf("invalid value for %s: %s", key, value) }

// parseBool reads the words that Go takes for true and false.
func parseBool(key, value string) (bool, error) {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, errInvalid(key, value)
	}
	return on, nil
}

// parseUint reads a number of 32 bits; modes are octal without a mark.
func parseUint(key, value string, base int) (*uint64, error) {
	number, err := strconv.ParseUint(value, base, 32)
	if err != nil {
		return nil, fmt.Errorf("invalid value %s for %s", value, key)
	}
	return &number, nil
}
