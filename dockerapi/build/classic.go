package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	var unsaid tail
	// A client that has gone ends the build elsewhere.
	tell := func(m route.Message) { _ = stream.Send(m) }
	if j.quiet {
		text, tell = &unsaid, nil
	}
	out := newPrinter(text, steps, j.remove, tell)
	resp, err := j.run(ctx, j.request(), out.show)
	if gone := out.end(digest.Digest(imageID(resp)), err != nil); gone != nil && err == nil {
		return gone
	}
	if err != nil {
		// Now it matters what a quiet build would have said.
		if len(unsaid) > 0 {
			_, _ = stream.Write(unsaid) // The client may have gone.
		}
		return j.classicError(stream, out, err, steps.lost)
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

// tail keeps the last bytes written to it.
type tail []byte

// maxTail bounds a tail, in bytes.
const maxTail = 256 << 10

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if over := len(*t) - maxTail; over > 0 {
		*t = append((*t)[:0], (*t)[over:]...)
	}
	return len(p), nil
}

// classicError tells why a build failed, with the exit code of the process
// that did; lost says that the stage to build is not there.
func (j *job) classicError(stream *route.Stream, out *printer, err error, lost bool) error {
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
		return fail(stream, err, code)
	}
	// What a line of the Dockerfile is to blame for is the client's mistake, and
	// so is the name of a stage that it does not have.
	var at *solver.SourceError
	if (lost || errors.As(err, &at)) && !stream.Begun() {
		err = &route.StatusError{Status: http.StatusBadRequest, Err: err}
	}
	return fail(stream, err, code)
}

// familiar is a name as people write it.
func familiar(name string) string {
	name = strings.TrimPrefix(name, "docker.io/")
	return strings.TrimPrefix(name, "library/")
}
