package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/attach"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/layout"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/request"
	"github.com/kilnbuild/kiln/solver/pb/control"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

// plan is a build as the command line describes it.
type plan struct {
	request   *control.SolveRequest
	sharedKey string
	attach    []client.Attachable
	dirs      map[string]string
	stores    attach.Stores
	// credentials are in attach too.
	credentials *attach.Credentials
	// imageLayouts are directories whose index gets the image, cacheLayouts
	// those whose index gets the cache, by directory with its tag.
	imageLayouts []string
	cacheLayouts map[string]string
	// temps are directories to remove at the end.
	temps []string
}

// cleanUp removes what was made for the build.
func (p *plan) cleanUp() {
	for _, dir := range p.temps {
		os.RemoveAll(dir)
	}
}

// key says where, of several daemons, the build is at home: with all builds of
// the same source, whatever they make of it.
func (p *plan) key() string {
	if url := p.request.GetFrontendAttrs()["context"]; url != "" {
		return url
	}
	dir, ok := p.dirs["context"]
	if !ok {
		return "build" // all that have no source of their own
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return dir
}

// plan turns the flags into a plan; each step fills in its part.
func (b *buildFlags) plan(g *globals, args []string) (p *plan, err error) {
	p = &plan{
		request: &control.SolveRequest{Frontend: b.frontend, ProxyNetwork: b.proxyNetwork, Cache: &control.CacheOptions{}},
		stores:  attach.Stores{}, cacheLayouts: map[string]string{},
	}
	defer func() {
		if err != nil {
			p.cleanUp()
		}
	}()
	steps := []func(*globals, *plan) error{b.planOptions, b.planOutputs, b.planCaches, b.planSession, b.planPolicy}
	if b.peopleForm {
		steps = append([]func(*globals, *plan) error{func(g *globals, p *plan) error { return b.planPeople(g, p, args) }}, steps...)
	} else {
		steps = append(steps, b.planDefinition)
	}
	for _, step := range steps {
		if err := step(g, p); err != nil {
			return p, err
		}
	}
	if len(p.dirs) > 0 {
		dirs, err := attach.NewDirs(p.dirs)
		if err != nil {
			return p, err
		}
		p.attach = append(p.attach, dirs)
		p.sharedKey = attach.SharedKey(p.dirs)
	}
	if len(p.stores) > 0 {
		p.attach = append(p.attach, p.stores)
	}
	return p, nil
}

// planOptions fills in the options of the frontend and the directories that
// it may ask for.
func (b *buildFlags) planOptions(g *globals, p *plan) error {
	if err := request.Entitlements(b.allow); err != nil {
		return err
	}
	p.request.Entitlements = b.allow
	opts, err := request.Opts(b.opt, g.LookupEnv)
	if err != nil {
		return err
	}
	if b.noCache && p.request.GetFrontend() != "" {
		opts["no-cache"] = ""
	}
	// The daemon then tells at once if the frontend knows no such request.
	if _, ok := opts["requestid"]; ok && opts["frontend.caps"] == "" {
		opts["frontend.caps"] = "moby.buildkit.frontend.subrequests"
	}
	p.request.FrontendAttrs = opts
	dirs, err := request.Pairs("local", b.local)
	if err != nil {
		return err
	}
	p.dirs = dirs
	layouts, err := request.Pairs("oci-layout", b.ociLayout)
	if err != nil {
		return err
	}
	for id, dir := range layouts {
		if err := p.addStore("oci:"+id, dir); err != nil {
			return err
		}
	}
	return nil
}

// addStore offers the blobs of a directory under an id that the daemon knows.
func (p *plan) addStore(id, dir string) error {
	if _, ok := p.stores[id]; ok {
		return fmt.Errorf("content store %q already exists", id)
	}
	store, err := local.NewStore(dir)
	if err != nil {
		return fmt.Errorf("open content store %s: %w", dir, err)
	}
	p.stores[id] = store
	return nil
}

// planOutputs fills in the exporters, and where their results go. The index
// in the request is what the daemon names an exporter by.
func (b *buildFlags) planOutputs(g *globals, p *plan) error {
	outs, err := request.Outputs(b.output)
	if err != nil {
		return err
	}
	places := map[int]attach.Output{}
	for i, o := range outs {
		p.request.Exporters = append(p.request.Exporters, &control.Exporter{Type: o.Type, Attrs: o.Attrs})
		switch {
		case o.Dir != "":
			places[i] = attach.Output{Dir: o.Dir, Delete: o.Delete}
		case o.Store != "":
			if err := os.MkdirAll(o.Store, 0o755); err != nil {
				return err
			}
			if err := p.addStore("export", o.Store); err != nil {
				return err
			}
			p.imageLayouts = append(p.imageLayouts, o.Store)
		case o.Stream != "":
			open, err := openStream(g, o)
			if err != nil {
				return err
			}
			places[i] = attach.Output{Open: open}
		}
	}
	if len(outs) > 0 {
		// Daemons from before there could be several look here.
		p.request.ExporterDeprecated, p.request.ExporterAttrsDeprecated = outs[0].Type, outs[0].Attrs
	}
	if len(places) > 0 {
		p.attach = append(p.attach, attach.NewOutputs(places))
	}
	return nil
}

// openStream returns what opens the file of an output, when there is
// something to write: a build that fails leaves an old file alone.
func openStream(g *globals, o request.Output) (func() (io.WriteCloser, error), error) {
	if o.Stream == "-" {
		if f, ok := g.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return nil, fmt.Errorf("invalid output option: output file is required for %s exporter. refusing to write to console", o.Type)
		}
		return func() (io.WriteCloser, error) { return keepOpen{g.Out}, nil }, nil
	}
	if fi, err := os.Stat(o.Stream); err == nil && fi.IsDir() {
		return nil, fmt.Errorf("invalid output option: destination file %s is a directory", o.Stream)
	}
	return func() (io.WriteCloser, error) { return os.Create(o.Stream) }, nil
}

// keepOpen is a stream that others write to as well.
type keepOpen struct{ io.Writer }

// Close does nothing.
func (keepOpen) Close() error { return nil }

// planCaches fills in the caches. Local ones are directories of this machine
// that the daemon reads and writes through the session.
func (b *buildFlags) planCaches(g *globals, p *plan) error {
	exports, err := request.ExportCaches(b.exportCache, g.LookupEnv)
	if err != nil {
		return err
	}
	for _, c := range exports {
		if c.Type == "local" {
			if err := p.exportLocal(c); err != nil {
				return err
			}
		}
		p.request.Cache.Exports = append(p.request.Cache.Exports, &control.CacheOptionsEntry{Type: c.Type, Attrs: c.Attrs})
	}
	imports, err := request.ImportCaches(b.importCache, g.LookupEnv)
	if err != nil {
		return err
	}
	for _, c := range imports {
		if c.Type == "local" {
			// A cache that is not there is no reason not to build.
			if err := p.importLocal(c); err != nil {
				g.log.Warn("local cache import skipped", "src", c.Attrs["src"], "error", err)
				continue
			}
		}
		p.request.Cache.Imports = append(p.request.Cache.Imports, &control.CacheOptionsEntry{Type: c.Type, Attrs: c.Attrs})
	}
	if p.request.GetFrontend() == "" || len(p.request.GetCache().GetImports()) == 0 {
		return nil
	}
	// Frontends get them as an option: it is they who start the solving.
	list := make([]request.Cache, 0, len(p.request.GetCache().GetImports()))
	for _, c := range p.request.GetCache().GetImports() {
		list = append(list, request.Cache{Type: c.GetType(), Attrs: c.GetAttrs()})
	}
	data, err := json.Marshal(list)
	p.request.FrontendAttrs["cache-imports"] = string(data)
	return err
}

// exportLocal offers the directory of a cache to be written. Its index gets
// the cache when the build has succeeded.
func (p *plan) exportLocal(c request.Cache) error {
	dir := c.Attrs["dest"]
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tag := c.Attrs["tag"]
	if tag == "" {
		tag = "latest"
	}
	p.cacheLayouts[dir] = tag
	return p.addStore("local:"+dir, dir)
}

// importLocal finds the manifest of a cache by its tag: the daemon sees blobs
// only, and no index.
func (p *plan) importLocal(c request.Cache) error {
	dir := c.Attrs["src"]
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	if c.Attrs["digest"] == "" {
		tag := c.Attrs["tag"]
		if tag == "" {
			tag = "latest"
		}
		desc, err := layout.Find(dir, tag)
		if err != nil {
			return err
		}
		c.Attrs["digest"] = desc.Digest.String()
	}
	if _, err := digest.Parse(c.Attrs["digest"]); err != nil {
		return err
	}
	// The same directory may be exported to as well.
	if _, ok := p.stores["local:"+dir]; ok {
		return nil
	}
	return p.addStore("local:"+dir, dir)
}

// planSession adds what the user knows and holds: credentials, secrets, keys.
func (b *buildFlags) planSession(g *globals, p *plan) error {
	contexts, err := request.TLSContexts(b.authTLS)
	if err != nil {
		return err
	}
	noTokens, _ := strconv.ParseBool(g.getenv("BUILDKIT_NO_CLIENT_TOKEN"))
	p.credentials = attach.NewCredentials(attach.CredentialsConfig{Warnings: g.Err, TLS: contexts, NoTokens: noTokens})
	p.attach = append(p.attach, p.credentials)
	list, err := request.Secrets(b.secret, g.LookupEnv)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		s, err := attach.NewSecrets(list)
		if err != nil {
			return err
		}
		p.attach = append(p.attach, s)
	}
	agents, err := request.Agents(b.ssh)
	if err != nil {
		return err
	}
	if len(agents) > 0 {
		a, err := attach.NewAgents(agents)
		if err != nil {
			return err
		}
		p.attach = append(p.attach, a)
	}
	return nil
}

// planPolicy reads the policy. Fields that are not known are left to newer
// daemons to miss.
func (b *buildFlags) planPolicy(g *globals, p *plan) error {
	file := b.policyFile
	if file == "" {
		file = g.getenv("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY")
	}
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	policy := &sourcepolicy.Policy{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, policy); err != nil {
		return fmt.Errorf("failed to unmarshal source-policy-file %q: %w", file, err)
	}
	p.request.SourcePolicy = policy
	return nil
}

// planDefinition reads the graph if there is no frontend to make one.
func (b *buildFlags) planDefinition(g *globals, p *plan) error {
	if b.frontend != "" {
		return nil
	}
	if f, ok := g.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return errors.New("please specify --frontend or pipe LLB definition to stdin (or name a directory with a Dockerfile)")
	}
	def, err := readDefinition(g.In)
	if err != nil {
		return err
	}
	if len(def.GetDef()) == 0 {
		return errors.New("empty definition sent to build. Specify --frontend instead?")
	}
	if b.noCache {
		ignoreCache(def)
	}
	p.request.Definition = def
	return nil
}

// ignoreCache marks every operation to be run anew.
func ignoreCache(def *pb.Definition) {
	if def.Metadata == nil {
		def.Metadata = map[string]*pb.OpMetadata{}
	}
	for _, op := range def.GetDef() {
		id := digest.FromBytes(op).String()
		if def.Metadata[id] == nil {
			def.Metadata[id] = &pb.OpMetadata{}
		}
		def.Metadata[id].IgnoreCache = true
	}
}
