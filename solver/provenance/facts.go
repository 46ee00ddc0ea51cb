package provenance

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Facts are what is known of how one result was made.
type Facts struct {
	// Request made the result; Root, if not nil, is the user's own request.
	Request Request
	Root    *Request
	// Materials the result was made from.
	Materials Materials
	// Secrets and SSH agents that steps could use.
	Secrets, SSH []Forwarded
	// Network tells that steps had a network; Proxied, that it was a recorded
	// one, with the requests that could not be pinned.
	Network, Proxied bool
	Unpinned         []Unpinned
	// Incomplete tells that there are materials nobody knows.
	Incomplete bool
	// Definition is the graph of the result.
	Definition *pb.Definition
}

// addForwarded adds a secret or agent; one step that cannot do without it is
// enough to need it.
func addForwarded(list *[]Forwarded, f Forwarded) {
	for i := range *list {
		if (*list)[i].ID == f.ID {
			(*list)[i].Optional = (*list)[i].Optional && f.Optional
			return
		}
	}
	*list = append(*list, f)
}

// defaultAgent is the id of an SSH agent that was not given one.
const defaultAgent = "default"

// Exec adds what a step could use.
func (f *Facts) Exec(op *pb.ExecOp) {
	for _, m := range op.GetMounts() {
		switch m.GetMountType() {
		case pb.MountType_SECRET:
			addForwarded(&f.Secrets, Forwarded{ID: m.GetSecretOpt().GetID(), Optional: m.GetSecretOpt().GetOptional()})
		case pb.MountType_SSH:
			id := cmp.Or(m.GetSSHOpt().GetID(), defaultAgent)
			addForwarded(&f.SSH, Forwarded{ID: id, Optional: m.GetSSHOpt().GetOptional()})
		}
	}
	for _, s := range op.GetSecretenv() {
		addForwarded(&f.Secrets, Forwarded{ID: s.GetID(), Optional: s.GetOptional()})
	}
	if op.GetNetwork() != pb.NetMode_NONE {
		f.Network = true
	}
}

// Merge adds what another result of the same build was made from.
func (f *Facts) Merge(o *Facts) {
	for _, m := range o.Materials {
		f.Materials.Add(m)
	}
	for _, s := range o.Secrets {
		addForwarded(&f.Secrets, s)
	}
	for _, s := range o.SSH {
		addForwarded(&f.SSH, s)
	}
	f.Network, f.Proxied, f.Incomplete = f.Network || o.Network, f.Proxied || o.Proxied, f.Incomplete || o.Incomplete
	for _, u := range o.Unpinned {
		if !slices.Contains(f.Unpinned, u) {
			f.Unpinned = append(f.Unpinned, u)
		}
	}
}

// complete tells whether every material is pinned.
func (f *Facts) complete() bool {
	return !f.Incomplete && len(f.Unpinned) == 0 && len(f.Materials.locals()) == 0
}

// Predicate returns the facts in SLSA's form.
func (f *Facts) Predicate(o Options) (*Predicate, error) {
	materials := f.Materials.Listed()
	if o.CompleteMaterials && !f.complete() {
		return nil, f.incomplete(materials)
	}
	dependencies, err := materials.dependencies()
	if err != nil {
		return nil, fmt.Errorf("materials of provenance: %w", err)
	}
	p := &Predicate{}
	p.Definition.BuildType = buildTypeV1
	p.Definition.Dependencies = dependencies
	p.Definition.Internal = InternalParameters{
		BuilderPlatform: platforms.Format(platforms.Normalize(platforms.DefaultSpec())), Custom: o.Custom,
	}
	meta := &p.Run.Metadata
	p.Run.Builder.ID = o.BuilderID
	meta.Reproducible = o.Reproducible
	meta.Completeness = Completeness{Request: f.Request.Frontend != "", Dependencies: f.complete()}
	meta.Hermetic = f.complete() && !f.Network
	f.external(p, materials)
	f.network(meta)
	if o.Min {
		if p.Definition.External.Request.scrub() {
			meta.Completeness.Request = false
		}
		return p, nil
	}
	return p, f.steps(p)
}

// external fills in what was asked for.
func (f *Facts) external(p *Predicate, materials Materials) {
	src := f.Request.source(materials)
	req := *src.Request
	if root := f.Root; !root.empty() {
		if s := root.source(materials); !s.equal(src) {
			req.Root = s
		}
	}
	if told := vcs(req.Args); len(told) > 0 {
		p.Run.Metadata.Build.VCS = told
	}
	req.Secrets, req.SSH, req.Locals = sorted(f.Secrets), sorted(f.SSH), materials.locals()
	p.Definition.External = ExternalParameters{ConfigSource: src.ConfigSource, Request: req}
}

func sorted(list []Forwarded) []Forwarded {
	return slices.SortedFunc(slices.Values(list), func(a, b Forwarded) int { return strings.Compare(a.ID, b.ID) })
}

func (f *Facts) network(meta *Metadata) {
	if !f.Proxied {
		return
	}
	meta.Build.Network = &Network{Mode: "proxy"}
	if len(f.Unpinned) > 0 {
		meta.Build.Network.Proxy = &ProxyNetwork{Incomplete: f.unpinned()}
	}
}

func (f *Facts) unpinned() []Unpinned {
	return slices.SortedFunc(slices.Values(f.Unpinned), func(a, b Unpinned) int {
		return cmp.Or(strings.Compare(a.Op, b.Op), strings.Compare(a.URI, b.URI), strings.Compare(a.Method, b.Method), strings.Compare(a.Reason, b.Reason))
	})
}

// reasonLocal is why a directory of the client is no pinned material.
const reasonLocal = "local_source"

// incomplete is the error of a build that has to know all its materials.
func (f *Facts) incomplete(materials Materials) error {
	var b strings.Builder
	b.WriteString("provenance materials are incomplete\n\n" +
		"The build requested complete provenance materials, but not all dependencies could be captured.")
	var missing []solver.MissingMaterial
	if locals := materials.locals(); len(locals) > 0 {
		b.WriteString("\n\nUncaptured local sources:")
		for _, l := range locals {
			missing = append(missing, solver.MissingMaterial{Name: l.Name, Reason: reasonLocal})
			fmt.Fprintf(&b, "\n  - %s\n    reason: %s", cmp.Or(l.Name, "<unnamed>"), reasonLocal)
		}
	}
	if len(f.Unpinned) > 0 {
		b.WriteString("\n\nUncaptured requests:")
	}
	for _, u := range f.unpinned() {
		missing = append(missing, solver.MissingMaterial(u))
		fmt.Fprintf(&b, "\n  - %s", cmp.Or(u.Name, u.Op, u.URI))
		for _, line := range [][2]string{{"method", u.Method}, {"url", u.URI}, {"finalUrl", u.FinalURI}, {"reason", u.Reason}} {
			if line[1] != "" {
				fmt.Fprintf(&b, "\n    %s: %s", line[0], line[1])
			}
		}
	}
	return &solver.MaterialsError{Missing: missing, Err: errors.New(b.String())}
}
