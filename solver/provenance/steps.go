package provenance

import (
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// clientAttrs of local sources name one client and one moment.
var clientAttrs = []string{"local.session", "local.unique"}

// steps fills in the graph and the texts it was made from.
func (f *Facts) steps(p *Predicate) error {
	config, err := newBuildConfig(f.Definition)
	if err != nil {
		return err
	}
	p.Definition.Internal.BuildConfig = config
	source := f.Definition.GetSource()
	if len(source.GetInfos()) == 0 {
		return nil
	}
	texts := &SourceTexts{Locations: map[string]*pb.Locations{}}
	for _, info := range source.GetInfos() {
		from, err := newBuildConfig(info.GetDefinition())
		if err != nil {
			return err
		}
		texts.Infos = append(texts.Infos, SourceText{
			Filename: info.GetFilename(), Language: info.GetLanguage(), Data: info.GetData(), BuildConfig: *from,
		})
	}
	for vertex, locations := range source.GetLocations() {
		if id, ok := config.DigestMapping[digest.Digest(vertex)]; ok {
			texts.Locations[id] = locations
		}
	}
	p.Run.Metadata.Build.Source = texts
	return nil
}

// StepID returns the id of the step of a vertex; empty if there is none.
func (c *BuildConfig) StepID(vertex digest.Digest) string { return c.DigestMapping[vertex] }

// newBuildConfig numbers the steps of a graph so that inputs come first. It
// never returns nil.
func newBuildConfig(def *pb.Definition) (*BuildConfig, error) {
	c := &BuildConfig{}
	if len(def.GetDef()) == 0 {
		return c, nil
	}
	ops := make(map[digest.Digest]*pb.Op, len(def.GetDef()))
	var last digest.Digest
	for _, data := range def.GetDef() {
		op := &pb.Op{}
		if err := proto.Unmarshal(data, op); err != nil {
			return nil, fmt.Errorf("steps of provenance: %w", err)
		}
		for _, attr := range clientAttrs {
			delete(op.GetSource().GetAttrs(), attr)
		}
		last = digest.FromBytes(data)
		ops[last] = op
	}
	order := inputsFirst(ops, last)
	c.DigestMapping = make(map[digest.Digest]string, len(order))
	for i, vertex := range order {
		c.DigestMapping[vertex] = "step" + strconv.Itoa(i)
	}
	for _, vertex := range order {
		op := ops[vertex]
		inputs := make([]string, 0, len(op.GetInputs()))
		for _, in := range op.GetInputs() {
			inputs = append(inputs, fmt.Sprintf("%s:%d", c.DigestMapping[digest.Digest(in.GetDigest())], in.GetIndex()))
		}
		op.Inputs = nil
		c.Steps = append(c.Steps, Step{ID: c.DigestMapping[vertex], Op: op, Inputs: inputs})
	}
	return c, nil
}

// inputsFirst lists what last is made of, depth first, itself at the end. The
// graph was loaded before and has no circles; it may be deep.
func inputsFirst(ops map[digest.Digest]*pb.Op, last digest.Digest) []digest.Digest {
	type visit struct {
		vertex digest.Digest
		next   int
	}
	var order []digest.Digest
	seen := map[digest.Digest]bool{last: true}
	stack := []visit{{vertex: last}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		inputs := ops[top.vertex].GetInputs()
		if top.next == len(inputs) {
			order = append(order, top.vertex)
			stack = stack[:len(stack)-1]
			continue
		}
		in := digest.Digest(inputs[top.next].GetDigest())
		top.next++
		if ops[in] != nil && !seen[in] {
			seen[in] = true
			stack = append(stack, visit{vertex: in})
		}
	}
	return order
}
