package build

import (
	"context"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
)

// choose asks the client which exporters to run beside those of the request,
// now that it can look at the result.
func (j *job) choose(ctx context.Context, res *frontend.Result) ([]export.Instance, error) {
	if !j.request.SessionExporter {
		return nil, nil
	}
	refs, err := j.gatewaySession().RefIDs(res)
	if err != nil {
		return nil, err
	}
	list, err := j.builder.cfg.Sessions.FindExporters(ctx, j.request.SessionID, res.Metadata, refs)
	if err != nil {
		return nil, err
	}
	var out []export.Instance
	for _, e := range list {
		in, err := j.builder.resolveExporter(ctx, j.request, ExporterRequest{Type: e.GetType(), Attrs: e.GetAttrs()})
		if err != nil {
			return nil, err
		}
		out = append(out, in)
	}
	return out, nil
}

// approve lets the client object to what the exporters made.
func (j *job) approve(ctx context.Context, values map[string]string) error {
	if !j.request.SessionExporter {
		return nil
	}
	return j.builder.cfg.Sessions.FinalizeExport(ctx, j.request.SessionID, values)
}

// gatewaySession returns the conversation by which the client looks at refs.
// Where the client is not the frontend there was none yet.
func (j *job) gatewaySession() *gateway.Session {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.gateway == nil {
		j.gateway = gateway.NewSession(gateway.Config{Bridge: &bridge{job: j, call: j.root}, Inputs: j.request.Inputs})
		j.gateway.Finish(nil)
	}
	return j.gateway
}
