package build

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/dockerapi/imagestore"
	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/dockerapi/upload"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/progress"
)

const (
	// frontendName builds Dockerfiles.
	frontendName = "dockerfile.v0"
	// ExporterName is the exporter that names images as an engine does.
	ExporterName = "moby"
	// outputNone is the type of an output that is none.
	outputNone = "cacheonly"
)

// job is one build of a request.
type job struct {
	*parameters
	server *Server
	// visitor is the id of the session within the daemon, context what it
	// offers; nil if the context is elsewhere.
	visitor string
	context *upload.Context
}

// request is the build in the words of the builder.
func (j *job) request() *build.Request {
	req := &build.Request{
		ID: "dockerapi-" + strings.ToLower(rand.Text()), SessionID: j.session,
		Frontend: frontendName, Opts: maps.Clone(j.opts),
	}
	if j.version != 2 || req.SessionID == "" {
		req.SessionID = j.visitor
	}
	switch {
	case j.context != nil:
		// The client's own session has no such directories.
		for _, name := range []string{"context", "dockerfile"} {
			req.Opts["local-sessionid:"+name] = j.visitor
		}
	case j.remote != remoteSession:
		req.Opts["context"] = j.remote
	}
	if j.inlineCache {
		req.CacheExports = []build.CacheRequest{{Type: "inline"}}
	}
	if j.hostNetwork {
		req.Entitlements = []string{"network.host"}
	}
	req.Exporters = j.exporters()
	return req
}

// exporters are where the result goes: by default an image under the names of
// the request.
func (j *job) exporters() []build.ExporterRequest {
	e := build.ExporterRequest{Type: ExporterName, Attrs: map[string]string{}}
	if len(j.outputs) > 0 {
		if e.Type = j.outputs[0].Type; e.Type == outputNone {
			return nil
		}
		maps.Copy(e.Attrs, j.outputs[0].Attrs)
	}
	if e.Type == ExporterName && len(j.tags) > 0 {
		e.Attrs["name"] = strings.Join(j.tags, ",")
	}
	if e.Type == ExporterName && j.squash {
		e.Attrs[imagestore.AttrSquash] = "true"
	}
	return []build.ExporterRequest{e}
}

// outcome is how a build ended.
type outcome struct {
	resp *build.Response
	err  error
}

// run builds, and calls show with what happens until all of it is shown. An
// error of show ends the build: its client has gone.
func (j *job) run(ctx context.Context, req *build.Request, show func(*progress.Batch) error) (*build.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan outcome, 1)
	go func() {
		resp, err := j.server.cfg.Builder.Solve(ctx, req)
		done <- outcome{resp, err}
	}()
	err := j.follow(ctx, req.ID, done, show)
	if err != nil {
		cancel(err)
	}
	end := <-done
	if end.err != nil && ctx.Err() != nil {
		end.err = context.Cause(ctx)
	}
	return end.resp, end.err
}

// follow shows the events of a build. Builds that are refused have none.
func (j *job) follow(ctx context.Context, id string, done chan outcome, show func(*progress.Batch) error) error {
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	type opened struct {
		events *progress.Reader
		err    error
	}
	open := make(chan opened, 1)
	go func() {
		events, err := j.server.cfg.Builder.Events(waiting, id)
		open <- opened{events, err}
	}()
	var o opened
	select {
	case o = <-open:
	case end := <-done:
		done <- end
		// What it said is there, or nothing is.
		stop()
		o = <-open
	}
	if o.err != nil {
		return nil //nolint:nilerr // the build's own error is told
	}
	for {
		batch, err := o.events.Next(ctx)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := show(batch); err != nil {
			return err
		}
	}
}

// imageID is the id of the image that a build made; "" for none.
func imageID(resp *build.Response) string {
	if resp == nil {
		return ""
	}
	return resp.Values[export.ValueDigest]
}

// result is the aux value that tells an image's id.
type result struct {
	ID string `json:"ID"`
}

// located makes sure that the Dockerfile is there, and returns it; nil if the
// context is elsewhere.
func (j *job) located() ([]byte, error) {
	if j.context == nil {
		return nil, nil
	}
	name := j.dockerfile
	if name == "" {
		name = "Dockerfile"
	}
	data, err := j.context.ReadFile(name, maxDockerfile)
	if errdefs.IsNotFound(err) && j.dockerfile == "" {
		data, err = j.context.ReadFile("dockerfile", maxDockerfile)
	}
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("Cannot locate specified Dockerfile: %s: %w", name, errdefs.ErrInvalidArgument) //nolint:staticcheck // clients know it like this
	}
	return data, err
}

// maxDockerfile bounds a Dockerfile, in bytes.
const maxDockerfile = 16 << 20

// fail tells an error at the end of a stream, or, if nothing has been told,
// returns it for the answer.
func fail(stream *route.Stream, err error, code int) error {
	if err == nil {
		return nil
	}
	if errdefs.IsNotFound(err) {
		// What a build does not find is told with these words, which elsewhere
		// only mark the kind of an error.
		text := err.Error()
		if s, ok := status.FromError(err); ok {
			text = s.Message()
		}
		err = &route.StatusError{Status: route.Status(err), Err: errors.New(text)}
	}
	return stream.Fail(err, code)
}
