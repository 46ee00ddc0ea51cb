package solver

import (
	"github.com/opencontainers/go-digest"
)

// PinEvent tells what a source op stands for at this moment: the digest of an
// image or file, the commit of a repository.
type PinEvent struct {
	Vertex digest.Digest
	Pin    string
}

// MissingMaterial is something that a result was made from and that cannot be
// had again by a digest. All fields but Reason may be empty.
type MissingMaterial struct {
	// Op is the digest of the vertex, Name what people call it or the source.
	Op, Name string
	// Method, URI and FinalURI, after redirects, describe a request.
	Method, URI, FinalURI string
	Reason                string
}

// MaterialsError refuses a result whose materials had to be known and are not.
type MaterialsError struct {
	Missing []MissingMaterial
	Err     error
}

// Error returns the text of the wrapped error.
func (e *MaterialsError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *MaterialsError) Unwrap() error { return e.Err }
