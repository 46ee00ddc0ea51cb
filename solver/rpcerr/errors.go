package rpcerr

// SubrequestError says that a frontend does not know a subrequest. Clients
// fall back on seeing it.
type SubrequestError struct {
	Name string
	Err  error
}

// Error returns the text, by default what clients match.
func (e *SubrequestError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return "unsupported request " + e.Name
}

// Unwrap returns the underlying error, if any.
func (e *SubrequestError) Unwrap() error { return e.Err }

// CapError says that a frontend lacks a capability that a client asked for.
type CapError struct {
	Name string
	Err  error
}

// Error returns the text, by default what clients match.
func (e *CapError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return "unsupported frontend capability " + e.Name
}

// Unwrap returns the underlying error, if any.
func (e *CapError) Unwrap() error { return e.Err }

// FrontendError says in which frontend an error arose.
type FrontendError struct {
	// Name of the frontend; Source is its image, if it has one.
	Name, Source string
	Err          error
}

// Error returns the underlying text.
func (e *FrontendError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *FrontendError) Unwrap() error { return e.Err }
