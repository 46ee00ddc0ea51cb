package dockerfile

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lint"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// lintReport is the answer to requestLint.
type lintReport struct {
	Warnings   []lintWarning    `json:"warnings"`
	Sources    []*pb.SourceInfo `json:"sources"`
	BuildError *lintError       `json:"buildError,omitempty"`
}

// lintWarning is a warning as clients read it.
type lintWarning struct {
	RuleName    string       `json:"ruleName"`
	Description string       `json:"description,omitempty"`
	URL         string       `json:"url,omitempty"`
	Detail      string       `json:"detail,omitempty"`
	Location    *pb.Location `json:"location,omitempty"`

	ranges []syntax.Range
}

// lintError says why the file cannot be built.
type lintError struct {
	Message  string       `json:"message"`
	Location *pb.Location `json:"location"`
}

// lint checks the file: every stage, unless one is asked for. That it cannot be
// built is part of the answer.
func (r *request) lint(ctx context.Context) (*frontend.Result, error) {
	report := lintReport{Sources: []*pb.SourceInfo{r.wireText()}}
	err := r.check(ctx, func(w lint.Warning) {
		report.Warnings = append(report.Warnings, lintWarning{
			RuleName: w.Rule.Name, Description: w.Rule.Description, URL: w.Rule.URL, Detail: w.Message,
			Location: &pb.Location{Ranges: wireRanges(w.Ranges)}, ranges: w.Ranges,
		})
	})
	if err != nil {
		report.BuildError = &lintError{Message: err.Error(), Location: &pb.Location{}}
		if ranges := joined(syntax.Places(err)); len(ranges) > 0 {
			report.BuildError.Location.Ranges = wireRanges(ranges)
		}
	}
	result, err := answer(report, r.lintText(report.Warnings))
	if err != nil {
		return nil, err
	}
	status := "0"
	if len(report.Warnings) > 0 || report.BuildError != nil {
		status = "1"
	}
	result.SetMeta("result.statuscode", []byte(status))
	return result, nil
}

// check runs all rules. It lowers the stages, but solves nothing.
func (r *request) check(ctx context.Context, sink func(lint.Warning)) error {
	config, err := r.lintConfig()
	if err != nil {
		return err
	}
	linter := lint.New(config, sink)
	file, err := r.parse(linter)
	if err != nil {
		return err
	}
	opt := r.lowerOptions(r.firstPlatform(), linter)
	opt.AllStages = opt.Target == ""
	_, err = lower.Convert(ctx, file, r.text, r, opt)
	return err
}

// joined merges the lines of all places, in order, neighbours that overlap into
// one.
func joined(places [][]syntax.Range) []syntax.Range {
	all := slices.Concat(places...)
	slices.SortStableFunc(all, func(a, b syntax.Range) int { return cmp.Compare(a.Start.Line, b.Start.Line) })
	var out []syntax.Range
	for _, r := range all {
		if n := len(out); n > 0 && r.Start.Line <= out[n-1].End.Line {
			out[n-1].End.Line = max(out[n-1].End.Line, r.End.Line)
			continue
		}
		out = append(out, r)
	}
	return out
}

// wireText is the Dockerfile as answers hold it.
func (r *request) wireText() *pb.SourceInfo {
	info := &pb.SourceInfo{Filename: r.text.Filename, Language: r.text.Language, Data: r.text.Data, Definition: &pb.Definition{}}
	if proto.Unmarshal(r.text.Definition, info.Definition) != nil {
		info.Definition = nil
	}
	return info
}

// lintText is the report for people, by line.
func (r *request) lintText(warnings []lintWarning) []byte {
	byLine := slices.Clone(warnings)
	slices.SortStableFunc(byLine, func(a, b lintWarning) int {
		first, _ := syntax.Span(a.ranges)
		second, _ := syntax.Span(b.ranges)
		return cmp.Compare(first, second)
	})
	var out bytes.Buffer
	for _, w := range byLine {
		fmt.Fprintf(&out, "\nWARNING: %s", w.RuleName)
		if w.URL != "" {
			fmt.Fprintf(&out, " - %s", w.URL)
		}
		fmt.Fprintf(&out, "\n%s\n", w.Detail)
		out.WriteString(excerpt(r.text.Filename, r.text.Data, w.ranges))
	}
	return out.Bytes()
}
