package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver"
)

// classic builds and answers with the text of the steps.
func (j *job) classic(ctx context.Context, stream *route.Stream) error {
	data, err := j.located()
	if err != nil {
		return err
	}
	steps := readPlan(data, j.opts["target"])
	var text io.Writer = stream
	if j.quiet {
		text = io.Discard
	}
	out := newPrinter(text, steps, j.remove)
	resp, err := j.run(ctx, j.request(), out.show)
	if gone := out.end(digest.Digest(imageID(resp)), err != nil); gone != nil && err == nil {
		return gone
	}
	if err != nil {
		return j.classicError(stream, out, err)
	}
	if list := steps.unused(j.args); len(list) > 0 {
		fmt.Fprintf(text, "[Warning] One or more build-args %v were not consumed\n", list)
	}
	return j.classicEnd(stream, text, imageID(resp))
}

// classicEnd tells what was made; errors of writing are those of a client that
// has gone.
func (j *job) classicEnd(stream *route.Stream, text io.Writer, id string) error {
	if id == "" {
		return nil
	}
	if err := stream.Send(route.Message{Aux: result{id}}); err != nil {
		return err
	}
	fmt.Fprintf(text, "Successfully built %s\n", short(digest.Digest(id)))
	for _, name := range j.tags {
		fmt.Fprintf(text, "Successfully tagged %s\n", familiar(name))
	}
	if j.quiet {
		_, err := fmt.Fprintln(stream, id)
		return err
	}
	return nil
}

// classicError tells why a build failed, with the exit code of the process
// that did.
func (j *job) classicError(stream *route.Stream, out *printer, err error) error {
	if errors.Is(err, errCancelled) {
		fmt.Fprintln(stream, errCancelled.Error())
	}
	code := 0
	var exit *solver.ExitError
	if errors.As(err, &exit) {
		code = exit.Code
		if s := out.failed; s != nil && s.command != "" {
			err = fmt.Errorf("The command '%s' returned a non-zero code: %d", s.command, code) //nolint:staticcheck // clients know it like this
		}
	}
	return fail(stream, err, code)
}

// familiar is a name as people write it.
func familiar(name string) string {
	name = strings.TrimPrefix(name, "docker.io/")
	return strings.TrimPrefix(name, "library/")
}
