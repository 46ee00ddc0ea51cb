package llb

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// sourceTexts converts the texts of a definition, in order.
func sourceTexts(source *pb.Source) ([]*solver.SourceInfo, error) {
	infos := make([]*solver.SourceInfo, len(source.GetInfos()))
	for i, info := range source.GetInfos() {
		text, err := SourceInfoFromPB(info)
		if err != nil {
			return nil, err
		}
		infos[i] = text
	}
	return infos, nil
}

// SourceInfoFromPB converts a source text; its graph, if it has one, becomes
// opaque bytes.
func SourceInfoFromPB(info *pb.SourceInfo) (*solver.SourceInfo, error) {
	text := &solver.SourceInfo{
		Filename: info.GetFilename(),
		Language: info.GetLanguage(),
		Data:     info.GetData(),
	}
	if info.GetDefinition() != nil {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(info.GetDefinition())
		if err != nil {
			return nil, fmt.Errorf("encode definition of source %s: %w", info.GetFilename(), err)
		}
		text.Definition = encoded
	}
	return text, nil
}

// SourceInfoToPB is the way back.
func SourceInfoToPB(text *solver.SourceInfo) (*pb.SourceInfo, error) {
	if text == nil {
		return nil, nil
	}
	info := &pb.SourceInfo{Filename: text.Filename, Language: text.Language, Data: text.Data}
	if text.Definition != nil {
		info.Definition = &pb.Definition{}
		if err := proto.Unmarshal(text.Definition, info.Definition); err != nil {
			return nil, fmt.Errorf("decode definition of source %s: %w", text.Filename, err)
		}
	}
	return info, nil
}

// RangesFromPB converts ranges of a source text.
func RangesFromPB(ranges []*pb.Range) []solver.Range {
	out := make([]solver.Range, 0, len(ranges))
	for _, r := range ranges {
		out = append(out, solver.Range{Start: position(r.GetStart()), End: position(r.GetEnd())})
	}
	return out
}

// RangesToPB is the way back.
func RangesToPB(ranges []solver.Range) []*pb.Range {
	out := make([]*pb.Range, 0, len(ranges))
	for _, r := range ranges {
		out = append(out, &pb.Range{
			Start: &pb.Position{Line: int32(r.Start.Line), Character: int32(r.Start.Character)},
			End:   &pb.Position{Line: int32(r.End.Line), Character: int32(r.End.Character)},
		})
	}
	return out
}

func position(p *pb.Position) solver.Position {
	return solver.Position{Line: int(p.GetLine()), Character: int(p.GetCharacter())}
}

// vertexSources resolves the locations of one operation. A location in a text
// that is not there is dropped: it only spoils a message, not a build.
func vertexSources(locations *pb.Locations, texts []*solver.SourceInfo, limit int) ([]Source, error) {
	var sources []Source
	ranges := 0
	for _, location := range locations.GetLocations() {
		ranges += 1 + len(location.GetRanges())
		if ranges > limit {
			return nil, invalidf("invalid source locations: more than %d ranges for one vertex", limit)
		}
		index := int(location.GetSourceIndex())
		if index < 0 || index >= len(texts) {
			continue
		}
		sources = append(sources, Source{Info: texts[index], Ranges: RangesFromPB(location.Ranges)})
	}
	return sources, nil
}
