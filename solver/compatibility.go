package solver

import "fmt"

// Versions of behaviour. A client asks for an older one to get the same bytes
// as from the builder of that time; all of them are given by everything that
// this program builds.
const (
	// Compatibility10 knows no zstd in images.
	Compatibility10 = 10
	// Compatibility20 writes Docker's media types unless there are
	// attestations, and these in the form of images.
	Compatibility20 = 20
	// Compatibility30 writes OCI's.
	Compatibility30 = 30
	// CompatibilityNow is that of builds that ask for none.
	CompatibilityNow = Compatibility30
)

// CompatibilityError says that the version of behaviour that was asked for
// lacks a feature.
type CompatibilityError struct {
	Version int
	Feature string
	// Err, optional, is the error that says so, as it came from elsewhere.
	Err error
}

// Error returns the text of the wrapped error, or tells version and feature.
func (e *CompatibilityError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("unsupported compatibility-version %d feature %s", e.Version, e.Feature)
}

// Unwrap returns the wrapped error.
func (e *CompatibilityError) Unwrap() error { return e.Err }
