package export

import (
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
)

// AttrEpoch is the attribute, understood by all exporters, that bounds the
// times in what is written: seconds since 1970; empty for no bound at all.
const AttrEpoch = "source-date-epoch"

// Bool reads a yes-or-no attribute. The empty value, "name" without "=", is
// true.
func Bool(name, value string) (bool, error) {
	if value == "" {
		return true, nil
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("non-bool value specified for %s: %q: %w", name, value, errdefs.ErrInvalidArgument)
	}
	return b, nil
}

// Epoch is what an exporter's attributes say about times. The zero value
// leaves the decision to the result's metadata.
type Epoch struct {
	// Set tells that the attribute was given.
	Set bool
	// Time is its value, nil for none.
	Time *time.Time
}

// ParseEpoch reads the value of AttrEpoch.
func ParseEpoch(value string) (Epoch, error) {
	t, err := parseSeconds(value)
	if err != nil {
		return Epoch{}, fmt.Errorf("invalid %s: %w", AttrEpoch, err)
	}
	return Epoch{Set: true, Time: t}, nil
}

// For returns the latest time allowed in the result of one platform of src, or
// nil: the attribute's if it was given, else the frontend's.
func (e Epoch) For(src *Source, platform string) (*time.Time, error) {
	if e.Set {
		return e.Time, nil
	}
	value := src.Meta(MetaEpoch, platform)
	t, err := parseSeconds(string(value))
	if err != nil {
		return nil, fmt.Errorf("invalid SOURCE_DATE_EPOCH from frontend: %w", err)
	}
	return t, nil
}

func parseSeconds(value string) (*time.Time, error) {
	if value == "" {
		return nil, nil
	}
	s, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number of seconds: %w", value, errdefs.ErrInvalidArgument)
	}
	t := time.Unix(s, 0).UTC()
	return &t, nil
}
