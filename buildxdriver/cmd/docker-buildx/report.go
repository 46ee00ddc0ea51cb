package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/docker/buildx/util/cobrautil"
	"github.com/docker/buildx/util/desktop"
	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/debug"
	solvererrdefs "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/sourcepolicy/policysession"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/util/stack"
	"google.golang.org/grpc/codes"
)

// report prints an error the way buildx does and returns the exit code: lines
// of the Dockerfile, the refusal of a policy and the build's reference are
// things that scripts and people look for.
func report(w io.Writer, err error) int {
	var (
		status cli.StatusError
		code   cobrautil.ExitCodeError
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		if status.Status != "" {
			fmt.Fprintln(w, status.Status)
		}
		return max(status.StatusCode, 1) // An error never ends with 0.
	case errors.As(err, &code):
		return int(code)
	}
	for _, refusal := range policysession.DenyMessages(err) {
		if text := refusal.GetMessage(); text != "" {
			fmt.Fprintf(w, "Policy: %s\n", text)
		}
	}
	for _, place := range solvererrdefs.Sources(err) {
		_ = place.Print(w) // An error would be that of writing to the terminal.
	}
	format := "ERROR: %v\n"
	shown := any(err)
	if debug.IsEnabled() {
		format, shown = "ERROR: %+v", stack.Formatter(err)
	}
	fmt.Fprintf(w, format, shown)
	var ref *desktop.ErrorWithBuildRef
	if errors.As(err, &ref) {
		_ = ref.Print(w) // As above.
	}
	return exitCode(err)
}

// exitCode tells kinds of errors apart.
func exitCode(err error) int {
	switch code := grpcerrors.Code(err); {
	case code == codes.Internal:
		return 100
	case code == codes.ResourceExhausted:
		return 102
	case code == codes.Canceled, errors.Is(err, context.Canceled):
		return 130
	}
	return 1
}
