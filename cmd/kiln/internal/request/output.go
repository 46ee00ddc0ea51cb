package request

import (
	"errors"
	"fmt"
	"strconv"
)

// Output is an exporter and where its result goes. At most one of Dir, Stream
// and Store is set.
type Output struct {
	Type  string
	Attrs map[string]string
	// Dir takes the files of the result.
	Dir string
	// Stream is the file that takes the result as one stream; "-" is the
	// standard output.
	Stream string
	// Store is a directory that takes the blobs of an image, as an OCI layout.
	Store string
	// Delete makes Dir equal to the result instead of adding to it.
	Delete bool
}

// Outputs reads values of --output.
func Outputs(values []string) ([]Output, error) {
	var out []Output
	stores := 0
	for _, v := range values {
		o, err := parseOutput(v)
		if err != nil {
			return nil, err
		}
		if o.Store != "" {
			stores++
		}
		out = append(out, o)
	}
	if stores > 1 {
		return nil, errors.New("--output: only one output can have tar=false")
	}
	return out, nil
}

// parseOutput reads one value. dest is for the client alone: where it goes is
// none of the daemon's business.
func parseOutput(value string) (Output, error) {
	e, err := parseEntry("output", value)
	if err != nil {
		return Output{}, err
	}
	o := Output{Type: e.kind, Attrs: e.attrs}
	if v, ok := o.Attrs["output"]; ok {
		return o, fmt.Errorf("output=%s not supported for --output, you meant dest=%s?", v, v)
	}
	dest := o.Attrs["dest"]
	switch o.Type {
	case "local":
		o.Dir = dest
		if o.Delete, err = deleteMode(o.Attrs["mode"]); err != nil {
			return o, err
		}
	case "tar":
		o.Stream = orStdout(dest)
	case "oci", "docker":
		tar, err := strconv.ParseBool(o.Attrs["tar"])
		if err != nil || tar {
			o.Stream = orStdout(dest)
		} else {
			o.Store = dest
		}
	default:
		if dest != "" {
			return o, fmt.Errorf("invalid output option: output %s is not supported by %s exporter", dest, o.Type)
		}
		return o, nil
	}
	if o.Stream == "" && dest == "" {
		return o, fmt.Errorf("invalid output option: output directory is required for %s exporter (add dest=<dir>)", o.Type)
	}
	delete(o.Attrs, "dest")
	return o, nil
}

// orStdout fills in the stream that is meant when no file is named.
func orStdout(dest string) string {
	if dest == "" {
		return "-"
	}
	return dest
}

// deleteMode reads what becomes of files that are in the way.
func deleteMode(mode string) (bool, error) {
	switch mode {
	case "", "copy":
		return false, nil
	case "delete":
		return true, nil
	}
	return false, fmt.Errorf("invalid output option: mode %q of local exporter (want copy or delete)", mode)
}
