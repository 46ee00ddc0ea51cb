package frontend

import (
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Kinds of attestations that a request can ask for, as its options spell them
// after "attest:".
const (
	AttestProvenance = "provenance"
	AttestSBOM       = "sbom"
)

// Options that ask for attestations begin so; the second form, with the kind
// in capitals, is for clients that can only give build arguments.
const (
	prefixAttest    = "attest:"
	prefixAttestArg = "build-arg:BUILDKIT_ATTEST_"
)

// Requested returns the attestations that options ask for, with the pairs in
// their values: key=value in one line of CSV, a key alone with an empty value.
// One that is switched off is not among them; "true" asks for nothing in
// particular. Errors are of kind InvalidArgument.
func Requested(opts map[string]string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(opts)) {
		kind, ok := strings.CutPrefix(name, prefixAttest)
		if !ok {
			if kind, ok = strings.CutPrefix(name, prefixAttestArg); !ok {
				continue
			}
		}
		kind = strings.ToLower(kind)
		if kind != AttestProvenance && kind != AttestSBOM {
			return nil, fmt.Errorf("unknown attestation type %q: %w", kind, errdefs.ErrInvalidArgument)
		}
		enabled, err := strconv.ParseBool(opts[name])
		switch {
		case err == nil && !enabled:
			delete(out, kind)
			continue
		case err == nil:
			out[kind] = map[string]string{}
			continue
		}
		if out[kind], err = pairs(opts[name]); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", name, err, errdefs.ErrInvalidArgument)
		}
	}
	return out, nil
}

// pairs reads one line of key=value.
func pairs(line string) (map[string]string, error) {
	out := map[string]string{}
	if line == "" {
		return out, nil
	}
	fields, err := csv.NewReader(strings.NewReader(line)).Read()
	if err != nil {
		return nil, err
	}
	for _, field := range fields {
		k, v, _ := strings.Cut(field, "=")
		out[strings.TrimSpace(k)] = v
	}
	return out, nil
}
