package provenance

import (
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/export"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Attributes of sources that provenance tells about.
const (
	attrFullURL    = "git.fullurl"
	attrBundle     = "git.bundle"
	attrAuthToken  = "git.authtokensecret"
	attrAuthHeader = "git.authheadersecret"
	attrSSHSocket  = "git.mountsshsock"
)

// collector gathers facts about the results of one build.
type collector struct {
	built *build.Built
}

// collect returns what is known of the result from origin. What its frontend
// looked at on the way, other graphs and images, counts as well: the result
// may depend on it.
func (c *collector) collect(origin *build.Origin, p export.Platform) *Facts {
	f := c.facts(origin)
	results := c.results()
	for _, o := range origin.Call.Solved() {
		if !results[o] {
			f.Merge(c.facts(o))
		}
	}
	images := origin.Call.Images()
	if len(c.built.Platforms) > 1 {
		images = c.own(images, p)
	}
	for _, i := range images {
		f.Materials.Add(imageMaterial(i.Source.GetIdentifier(), i.Digest.String(), i.Platform))
	}
	return f
}

// results are the origins of everything in the build's result.
func (c *collector) results() map[*build.Origin]bool {
	res := c.built.Result
	out := map[*build.Origin]bool{c.built.Origin(res.Ref): true}
	for _, r := range res.Refs {
		out[c.built.Origin(r)] = true
	}
	for _, list := range res.Attestations {
		for _, a := range list {
			out[c.built.Origin(a.Ref)] = true
		}
	}
	return out
}

// own leaves out images that were resolved for the sake of other platforms of
// the result: those that were resolved once for each.
func (c *collector) own(images []build.ResolvedImage, p export.Platform) []build.ResolvedImage {
	var out []build.ResolvedImage
	for _, i := range images {
		if i.Platform != nil && c.everywhere(images, i.Source.GetIdentifier()) &&
			(i.Platform.OS != p.Platform.OS || i.Platform.Architecture != p.Platform.Architecture) {
			continue
		}
		out = append(out, i)
	}
	return out
}

// everywhere tells whether an image was resolved for every platform.
func (c *collector) everywhere(images []build.ResolvedImage, id string) bool {
	for _, p := range c.built.Platforms {
		match, found := platforms.NewMatcher(p.Platform), false
		for _, i := range images {
			found = found || i.Source.GetIdentifier() == id && i.Platform != nil && match.Match(*i.Platform)
		}
		if !found {
			return false
		}
	}
	return true
}

// facts are what the graph of one origin tells.
func (c *collector) facts(origin *build.Origin) *Facts {
	f := &Facts{Definition: origin.Definition}
	// What a client asked of itself is its own business.
	if root := origin.Call.Root; root != nil {
		r := c.request(root)
		f.Request, f.Root = c.request(origin.Call), &r
	}
	for step := range origin.Steps() {
		switch op := step.Op.GetOp().(type) {
		case *pb.Op_Source:
			f.source(op.Source, step)
		case *pb.Op_Exec:
			f.Exec(op.Exec)
			f.traffic(step)
		case *pb.Op_Build:
			// What a graph that came out of the build was made of is not told.
			f.Incomplete = true
		}
	}
	return f
}

// request is what a call was asked, and the requests behind its inputs. The
// client's own graph was not asked of anybody.
func (c *collector) request(call *build.Call) Request { return c.requestAt(call, 0) }

// maxInputDepth bounds how far the requests behind inputs are followed.
const maxInputDepth = 10

func (c *collector) requestAt(call *build.Call, depth int) Request {
	r := Request{Frontend: call.Frontend, Args: call.Opts}
	if depth == maxInputDepth {
		return r
	}
	for name, def := range call.Inputs {
		in := c.maker(def, depth+1)
		if in == nil {
			continue
		}
		if r.Inputs == nil {
			r.Inputs = map[string]*Request{}
		}
		r.Inputs[name] = in
	}
	return r
}

// maker is the request that made a graph, if there is exactly one.
func (c *collector) maker(def *pb.Definition, depth int) *Request {
	var found *Request
	for _, call := range c.built.Makers(def) {
		r := c.requestAt(call, depth)
		if r.empty() {
			continue
		}
		if found != nil && !found.source(nil).equal(r.source(nil)) {
			return nil
		}
		found = &r
	}
	return found
}

// source adds what a source op brought.
func (f *Facts) source(op *pb.SourceOp, step build.Step) {
	scheme, ref, _ := strings.Cut(op.GetIdentifier(), "://")
	attrs := op.GetAttrs()
	switch scheme {
	case "docker-image", "oci-layout":
		p := step.Platform
		f.Materials.Add(imageMaterial(op.GetIdentifier(), step.Pin, &p))
	case "docker-image+blob", "oci-layout+blob":
		f.Materials.Add(Material{Kind: Blob, Ref: ref, Pin: step.Pin, Layout: scheme == "oci-layout+blob"})
	case "git":
		f.Materials.Add(gitMaterial(ref, attrs, step.Pin))
		for _, name := range []string{attrs[attrAuthToken], attrs[attrAuthHeader]} {
			if name != "" {
				addForwarded(&f.Secrets, Forwarded{ID: name, Optional: true})
			}
		}
		if id := attrs[attrSSHSocket]; id != "" {
			addForwarded(&f.SSH, Forwarded{ID: id, Optional: true})
		}
	case "http", "https":
		f.Materials.Add(Material{Kind: HTTP, Ref: op.GetIdentifier(), Pin: step.Pin})
	case "local":
		f.Materials.Add(Material{Kind: LocalDir, Ref: ref})
	}
}

func imageMaterial(id, pin string, platform *ocispecs.Platform) Material {
	scheme, ref, _ := strings.Cut(id, "://")
	return Material{Kind: Image, Ref: ref, Pin: pin, Platform: platform, Layout: scheme == "oci-layout"}
}

// gitMaterial is a repository: what stands before "#" in ref, unless an
// attribute has the URL in full, with the reference that stands behind it.
func gitMaterial(ref string, attrs map[string]string, pin string) Material {
	remote, fragment, _ := strings.Cut(ref, "#")
	if url := attrs[attrFullURL]; url != "" {
		remote = url
	} else {
		remote = "https://" + remote
	}
	if name, _, _ := strings.Cut(fragment, ":"); name != "" {
		remote += "#" + name
	}
	return Material{Kind: Git, Ref: remote, Pin: pin, Bundle: attrs[attrBundle]}
}

// traffic adds what a step fetched through a recorded network.
func (f *Facts) traffic(step build.Step) {
	if step.Traffic == nil {
		return
	}
	f.Proxied = true
	for _, m := range step.Traffic.Materials {
		f.Materials.Add(Material{Kind: HTTP, Ref: m.URL, Pin: m.Digest.String()})
	}
	for _, m := range step.Traffic.Incomplete {
		f.Incomplete = true
		f.Unpinned = append(f.Unpinned, Unpinned{
			Op: step.Digest.String(), Name: strings.Join(step.Op.GetExec().GetMeta().GetArgs(), " "), Method: m.Method, URI: m.URL, Reason: m.Reason,
		})
	}
}
