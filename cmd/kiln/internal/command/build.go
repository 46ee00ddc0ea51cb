package command

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/display"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/layout"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
)

// buildFlags are the flags of build that both forms share, and buildctl's.
type buildFlags struct {
	// Lists, one value for each time the flag was given.
	output, local, ociLayout, opt []string
	exportCache, importCache      []string
	secret, allow, ssh, authTLS   []string
	// progress is a mode of the display, trace a file for its raw form.
	progress, trace string
	// frontend makes the graph; empty: it comes from the standard input.
	frontend string
	// Files to write when the build is over, and the policy to read.
	metadataFile, policyFile, refFile string
	// cacheMetrics is stdout, stderr or a file.
	cacheMetrics          string
	noCache, proxyNetwork bool
	people                peopleFlags
	// peopleForm says that a directory or one of people's flags was given.
	peopleForm bool
}

const buildExample = `  To build an image from the Dockerfile in this directory, and push it:
    kiln build -t registry.example.com/app --push .

  The same with the flags of buildctl:
    kiln build --frontend dockerfile.v0 --local context=. --local dockerfile=. \
      --output type=image,name=registry.example.com/app,push=true

  Without a frontend and without a directory, LLB is read from standard input.`

// newBuild has both forms of build. Flags that can be repeated are not split at
// commas: their values have commas of their own.
func newBuild(g *globals) *cobra.Command {
	b := &buildFlags{}
	cmd := &cobra.Command{
		Use: "build [DIR|URL|-]", Aliases: []string{"b"}, Short: "build an image, or whatever a frontend makes",
		Example: buildExample, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b.peopleForm = len(args) > 0 || b.people.used(cmd.Flags())
			p, err := b.plan(g, args)
			if err != nil {
				return err
			}
			defer p.cleanUp()
			g.dial.BuildKey = p.key()
			return g.withClient(cmd, func(ctx context.Context, c *client.Client) error { return b.run(ctx, g, c, p) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&b.output, "output", "o", nil, "define exports for the build result, e.g. type=image,name=docker.io/user/image,push=true")
	f.StringVar(&b.progress, "progress", "auto", "type of progress (auto, plain, tty, quiet, rawjson)")
	f.StringVar(&b.trace, "trace", "", "append progress as JSON to a file")
	f.StringArrayVar(&b.local, "local", nil, "allow the build access to a local directory: name=dir")
	f.StringArrayVar(&b.ociLayout, "oci-layout", nil, "allow the build access to a local OCI layout: id=dir")
	f.StringVar(&b.frontend, "frontend", "", "frontend used for the build, e.g. dockerfile.v0")
	f.StringArrayVar(&b.opt, "opt", nil, "options for the frontend, e.g. target=foo or build-arg:foo=bar")
	f.BoolVar(&b.noCache, "no-cache", false, "disable the cache for all steps")
	f.StringArrayVar(&b.exportCache, "export-cache", nil, "export build cache, e.g. type=registry,ref=example.com/foo/bar or type=local,dest=dir")
	f.StringArrayVar(&b.importCache, "import-cache", nil, "import build cache, e.g. type=registry,ref=example.com/foo/bar or type=local,src=dir")
	f.StringArrayVar(&b.secret, "secret", nil, "secret value exposed to the build: id=name,src=path or id=name,env=VARIABLE")
	f.StringArrayVar(&b.allow, "allow", nil, "allow extra privileged entitlement: network.host, security.insecure, device")
	f.StringArrayVar(&b.ssh, "ssh", nil, "allow forwarding an SSH agent: default|<id>[=<socket>[,raw=false]|<key>[,<key>]]")
	f.StringVar(&b.metadataFile, "metadata-file", "", "write build metadata, such as the image digest, to a file as JSON")
	f.StringVar(&b.policyFile, "source-policy-file", "", "read a source policy from a JSON file (default $EXPERIMENTAL_BUILDKIT_SOURCE_POLICY)")
	f.BoolVar(&b.proxyNetwork, "proxy-network", false, "run the build with proxy network enforcement")
	f.StringVar(&b.refFile, "ref-file", "", "write the build ref to a file")
	f.StringArrayVar(&b.authTLS, "registry-auth-tlscontext", nil, "TLS of the token service of a registry: host=<host>,ca=<ca>,cert=<cert>,key=<key>,insecure=true|false")
	f.StringVar(&b.cacheMetrics, "debug-json-cache-metrics", "", "where to write cache metrics as JSON: stdout, stderr or a file")
	b.people.add(f)
	return cmd
}

// run builds what is planned.
func (b *buildFlags) run(ctx context.Context, g *globals, c *client.Client, p *plan) error {
	out := display.Options{Out: g.Err, Mode: display.Mode(b.progress), Getenv: g.getenv}
	if b.trace != "" {
		f, err := os.OpenFile(b.trace, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		out.Trace = f
	}
	d, err := display.New(out)
	if err != nil {
		return err
	}
	p.request.Ref = client.NewID()
	m := newMetrics()
	todo := client.Build{
		Request: p.request, SharedKey: p.sharedKey, Attach: p.attach,
		Events: func(batch *progress.Batch) { m.add(batch); d.Add(batch) },
	}
	answers := make(chan map[string][]byte, 1)
	if _, ok := p.request.GetFrontendAttrs()["requestid"]; ok {
		todo.Answer = func(a map[string][]byte) { answers <- a }
	}
	p.credentials.Log(d.Add)
	resp, err := c.Build(ctx, todo)
	p.credentials.Log(nil)
	close(answers)
	// What cannot be shown has been built all the same.
	if shown := d.Close(); shown != nil {
		g.log.Debug("progress display", "error", shown)
	}
	if b.refFile != "" {
		err = errors.Join(err, layout.WriteFile(b.refFile, []byte(p.request.GetRef())))
	}
	if err == nil {
		err = b.deliver(g, p, resp, <-answers)
	}
	return errors.Join(err, b.writeMetrics(g, m))
}

// deliver does what remains once the build has succeeded.
func (b *buildFlags) deliver(g *globals, p *plan, resp *control.SolveResponse, answer map[string][]byte) error {
	r := resp.GetExporterResponse()
	for k, v := range r {
		g.log.Debug("exporter response", "key", k, "value", v)
	}
	if err := p.updateLayouts(r); err != nil {
		return err
	}
	if b.metadataFile != "" && r != nil {
		if err := writeMetadata(b.metadataFile, r); err != nil {
			return err
		}
	}
	return printAnswer(g.Out, answer)
}

// writeMetrics writes what --debug-json-cache-metrics asks for.
func (b *buildFlags) writeMetrics(g *globals, m *metrics) error {
	var w io.Writer
	switch b.cacheMetrics {
	case "":
		return nil
	case "stdout":
		w = g.Out
	case "stderr":
		w = g.Err
	default:
		f, err := os.OpenFile(b.cacheMetrics, os.O_TRUNC|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		w = f
	}
	return m.write(w)
}
