package compose

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Options say for whom a graph is marshalled. The zero value is usable.
type Options struct {
	// Platform is meant by operations that neither name nor inherit one; its
	// zero value stands for the platform this program runs on.
	Platform ocispecs.Platform
	// Supports says which capabilities the builder has; nil means those of
	// this module. It changes how a few things are written; to refuse what
	// the builder lacks is left to the builder.
	Supports func(id string) bool
	// LocalUnique marks local sources that name no session, so that the
	// directories of two clients are never taken for one. Empty means a new
	// random mark for each call of Marshal; set it to the same value to get
	// the same bytes again.
	LocalUnique string
}

// Marshal writes the graph that ends in result. Operations are in topological
// order, each once, and the pointer is last. Scratch yields a Definition with
// metadata but without operations.
func Marshal(result State, options Options) (*Definition, error) {
	if result.err != nil {
		return nil, result.err
	}
	m := newMarshaler(options)
	if result.node == nil {
		return m.def, nil
	}
	for _, n := range topological(result.node) {
		if err := m.add(n); err != nil {
			return nil, err
		}
	}
	if err := m.finish(result); err != nil {
		return nil, err
	}
	return m.def, nil
}

// topological lists what root needs, inputs first. It does not recurse, as
// graphs are deep.
func topological(root *node) []*node {
	type visit struct {
		node *node
		next int
	}
	var sorted []*node
	seen := map[*node]bool{root: true}
	stack := []visit{{node: root}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.next == len(top.node.inputs) {
			sorted = append(sorted, top.node)
			stack = stack[:len(stack)-1]
			continue
		}
		input := top.node.inputs[top.next].node
		top.next++
		if !seen[input] {
			seen[input] = true
			stack = append(stack, visit{node: input})
		}
	}
	return sorted
}

// marshaler is one call of Marshal.
type marshaler struct {
	options Options
	def     *pb.Definition
	digests map[*node]digest.Digest
	written map[digest.Digest]bool
	texts   map[*Text]int32
}

func newMarshaler(options Options) *marshaler {
	if options.Platform.OS == "" {
		options.Platform = platforms.DefaultSpec()
	}
	options.Platform = platforms.Normalize(options.Platform)
	if options.Supports == nil {
		options.Supports = llb.HasCap
	}
	return &marshaler{
		options: options,
		def:     &pb.Definition{Metadata: map[string]*pb.OpMetadata{}},
		digests: map[*node]digest.Digest{},
		written: map[digest.Digest]bool{},
		texts:   map[*Text]int32{},
	}
}

// add writes one operation whose inputs are written.
func (m *marshaler) add(n *node) error {
	encoded, meta, err := m.encode(n)
	if err != nil {
		return err
	}
	dgst := digest.FromBytes(encoded)
	m.digests[n] = dgst
	if !m.written[dgst] {
		m.written[dgst] = true
		m.def.Def = append(m.def.Def, encoded)
	}
	m.def.Metadata[dgst.String()] = mergeMetadata(m.def.Metadata[dgst.String()], meta)
	return m.addLocations(dgst, n.info.Locations)
}

func (m *marshaler) encode(n *node) ([]byte, *pb.OpMetadata, error) {
	if imported, ok := n.operation.(*importedOp); ok {
		return imported.encoded, imported.meta, nil
	}
	e := &encoding{
		op:          &pb.Op{Constraints: &pb.WorkerConstraints{Filter: n.info.WorkerFilters}},
		caps:        map[string]bool{},
		platform:    m.options.Platform,
		localUnique: m.localUnique,
		supports:    m.options.Supports,
		digests:     m.digests,
	}
	if n.info.Platform != nil {
		e.platform = *n.info.Platform
	}
	if err := n.operation.encode(e); err != nil {
		return nil, nil, err
	}
	meta := n.info.metadata(e.caps)
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(e.op)
	if err != nil {
		return nil, nil, fmt.Errorf("encode operation: %w", err)
	}
	return encoded, meta, nil
}

// localUnique returns the mark of this call.
func (m *marshaler) localUnique() string {
	if m.options.LocalUnique == "" {
		m.options.LocalUnique = rand.Text()
	}
	return m.options.LocalUnique
}

// addLocations records where an operation comes from. Operations that turned
// out the same come from all their places.
func (m *marshaler) addLocations(dgst digest.Digest, locations []Location) error {
	for _, location := range locations {
		if location.Text == nil {
			continue
		}
		if m.def.Source == nil {
			m.def.Source = &pb.Source{Locations: map[string]*pb.Locations{}}
		}
		index, known := m.texts[location.Text]
		if !known {
			info, err := llb.SourceInfoToPB(location.Text)
			if err != nil {
				return err
			}
			index = m.textIndex(info)
			m.texts[location.Text] = index
		}
		list := m.def.Source.Locations[dgst.String()]
		if list == nil {
			list = &pb.Locations{}
			m.def.Source.Locations[dgst.String()] = list
		}
		entry := &pb.Location{SourceIndex: index, Ranges: llb.RangesToPB(location.Ranges)}
		same := func(other *pb.Location) bool { return proto.Equal(entry, other) }
		if !slices.ContainsFunc(list.Locations, same) {
			list.Locations = append(list.Locations, entry)
		}
	}
	return nil
}

// textIndex is the number of a text among those of the definition. A text that
// came a second time, with the graph of an input that was made of it too, is
// still one text.
func (m *marshaler) textIndex(info *pb.SourceInfo) int32 {
	same := func(other *pb.SourceInfo) bool {
		return other.GetFilename() == info.GetFilename() && other.GetLanguage() == info.GetLanguage() &&
			bytes.Equal(other.GetData(), info.GetData())
	}
	if i := slices.IndexFunc(m.def.Source.Infos, same); i >= 0 {
		return int32(i)
	}
	m.def.Source.Infos = append(m.def.Source.Infos, info)
	return int32(len(m.def.Source.Infos) - 1)
}

// finish appends the pointer. Its capabilities speak for the whole graph.
func (m *marshaler) finish(result State) error {
	pointer := &pb.Op{Inputs: []*pb.Input{{Digest: m.digests[result.node].String(), Index: int64(result.index)}}}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(pointer)
	if err != nil {
		return fmt.Errorf("encode pointer: %w", err)
	}
	caps := map[string]bool{"constraints": true, "platform": true}
	for _, meta := range m.def.Metadata {
		if meta.IgnoreCache {
			caps["meta.ignorecache"] = true
		}
		if meta.Description != nil {
			caps["meta.description"] = true
		}
		if meta.ExportCache != nil {
			caps["meta.exportcache"] = true
		}
	}
	m.def.Def = append(m.def.Def, encoded)
	m.def.Metadata[digest.FromBytes(encoded).String()] = &pb.OpMetadata{Caps: caps}
	return nil
}

// mergeMetadata joins what two users of one operation say. For what can be
// said only once the first one is heard.
func mergeMetadata(first, second *pb.OpMetadata) *pb.OpMetadata {
	if first == nil {
		return second
	}
	merged := proto.Clone(first).(*pb.OpMetadata)
	merged.IgnoreCache = first.IgnoreCache || second.IgnoreCache
	if merged.ExportCache == nil {
		merged.ExportCache = second.ExportCache
	}
	if merged.ProgressGroup == nil {
		merged.ProgressGroup = second.ProgressGroup
	}
	if merged.LinuxResources == nil {
		merged.LinuxResources = second.LinuxResources
	}
	for key, value := range second.Description {
		if merged.Description == nil {
			merged.Description = map[string]string{}
		}
		if _, said := merged.Description[key]; !said {
			merged.Description[key] = value
		}
	}
	for id := range second.Caps {
		if merged.Caps == nil {
			merged.Caps = map[string]bool{}
		}
		merged.Caps[id] = true
	}
	return merged
}
