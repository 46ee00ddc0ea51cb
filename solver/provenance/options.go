package provenance

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
)

// defaultFilename is what the statement is called in exports to files.
const defaultFilename = "provenance.json"

// Options say what is told, and how.
type Options struct {
	// Min leaves out steps, texts and what users write themselves.
	Min bool
	// V02 asks for the older version of SLSA.
	V02 bool
	// BuilderID names who vouches for it.
	BuilderID string
	// Reproducible is the user's claim that the result is.
	Reproducible bool
	// InlineOnly keeps the statement out of exports to files.
	InlineOnly bool
	// CompleteMaterials makes a material without a digest an error.
	CompleteMaterials bool
	// Usage tells how busy the machine was.
	Usage bool
	// Filename in exports to files.
	Filename string
	// Custom has fields that the daemon's owner adds.
	Custom map[string]any
}

// ParseOptions reads the pairs of a request's "attest:provenance" (see
// frontend.Requested). Errors are of kind InvalidArgument and name the key.
func ParseOptions(pairs map[string]string) (Options, error) {
	o := Options{Filename: defaultFilename}
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		if err := o.set(k, pairs[k]); err != nil {
			return o, err
		}
	}
	return o, nil
}

// set stores one pair; unknown ones are for other builders.
func (o *Options) set(k, v string) (err error) {
	switch k {
	case "mode":
		switch v {
		case "min":
			o.Min = true
		case "max", "full":
			o.Min = false
		default:
			return fmt.Errorf("invalid mode %q: want min or max: %w", v, errdefs.ErrInvalidArgument)
		}
	case "version":
		if v != "v1" && v != "v0.2" {
			return fmt.Errorf("invalid provenance SLSA version: %s: %w", v, errdefs.ErrInvalidArgument)
		}
		o.V02 = v == "v0.2"
	case "builder-id":
		o.BuilderID = v
	case "reproducible":
		o.Reproducible, err = boolean(k, v)
	case "complete-materials":
		o.CompleteMaterials, err = boolean(k, v)
	// Clients send these beside values of their own: what is not true is false.
	case "inline-only":
		o.InlineOnly, _ = strconv.ParseBool(v)
	case "capture-usage":
		o.Usage, _ = strconv.ParseBool(v)
	case "filename":
		o.Filename = v
	}
	return err
}

func boolean(k, v string) (bool, error) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("failed to parse %s flag %q: %w", k, v, errdefs.ErrInvalidArgument)
	}
	return b, nil
}
