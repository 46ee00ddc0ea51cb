package dockerfile

import (
	"context"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
)

// subrequest answers a question about the file.
func (r *request) subrequest(_ context.Context, name string) (*frontend.Result, error) {
	return nil, &solver.SubrequestError{Name: name}
}
