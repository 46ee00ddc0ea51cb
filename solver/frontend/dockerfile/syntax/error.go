package syntax

import "errors"

// Error ties a failure to a place in the file. Its text is that of the failure
// alone; the ranges are for clients that print an excerpt.
type Error struct {
	// Err is the failure.
	Err error
	// Ranges are the lines to blame.
	Ranges []Range
	// Only hides the places that errors further down the chain carry, because
	// they speak of another text (a trigger in a base image, say).
	Only bool
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the failure itself.
func (e *Error) Unwrap() error { return e.Err }

// At adds a place to err. A nil err stays nil.
func At(err error, ranges []Range) error {
	if err == nil {
		return nil
	}
	return &Error{Err: err, Ranges: ranges}
}

// Instead replaces whatever places err carries. A nil err stays nil.
func Instead(err error, ranges []Range) error {
	if err == nil {
		return nil
	}
	return &Error{Err: err, Ranges: ranges, Only: true}
}

// Places lists the places that err and the errors it wraps carry, the innermost
// first.
func Places(err error) [][]Range {
	var places [][]Range
	var place *Error
	for errors.As(err, &place) {
		if len(place.Ranges) > 0 {
			places = append([][]Range{place.Ranges}, places...)
		}
		if place.Only {
			break
		}
		err = place.Err
	}
	return places
}
