package lower

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// filesStep is a COPY or ADD on its way to file actions.
type filesStep struct {
	*instruction.Files
	about *instruction.Meta
	// verb is COPY or ADD.
	verb string
	// add has what only ADD has, nil for COPY; parents what only COPY has.
	add     *instruction.Add
	parents bool
	// source is where paths are read from, reads learns which; local tells that
	// it is the build context.
	source *node
	reads  *pathSet
	local  bool
	// dest is the destination inside the image, system the image's operating
	// system.
	dest, system string
	// text is the instruction as the log shows it, name with the step's number.
	text, name string

	actions []fileAction
}

// copyFiles lowers COPY.
func (c *conversion) copyFiles(s *stage, i *instruction.Copy, cmd *command) error {
	step := &filesStep{Files: &i.Files, about: &i.Meta, verb: "COPY", parents: i.Parents, source: c.context, reads: c.reads, local: true}
	if len(cmd.from) > 0 {
		from := cmd.from[0]
		if !from.lowered {
			return fmt.Errorf("cannot copy from stage %q, it needs to be defined before current stage %q", i.From, s.label)
		}
		step.source, step.reads, step.local = from.files, from.reads, false
	}
	return c.files(s, step, cmd)
}

// addFiles lowers ADD.
func (c *conversion) addFiles(s *stage, i *instruction.Add, cmd *command) error {
	step := &filesStep{Files: &i.Files, about: &i.Meta, verb: "ADD", add: i, source: c.context, reads: c.reads, local: true}
	if i.Checksum != "" {
		if len(i.Sources) != 1 {
			return errors.New("checksum can't be specified for multiple sources")
		}
		if remote, err := classify(i.Sources[0]); err == nil && remote == nil {
			return errors.New("checksum requires HTTP(S) or Git sources")
		}
	}
	return c.files(s, step, cmd)
}

// files makes the actions of a COPY or ADD, one for each source, all in one
// step of the graph: they succeed or fail together and are cached as one.
func (c *conversion) files(s *stage, step *filesStep, cmd *command) error {
	var err error
	step.system = s.system()
	if step.dest, err = destination(s, step.Dest); err != nil {
		return err
	}
	if err := c.checkMode(step); err != nil {
		return err
	}
	step.text = onbuildMark(cmd) + c.shown(shell.Expander{}, step.about.Text, s.env)
	step.name = c.stepName(s, step.text, s.platform, s.env)
	for _, source := range step.Sources {
		if err := c.source(step, source); err != nil {
			return err
		}
	}
	for _, inline := range step.Inline {
		if err := c.budget.spend(step.cost()); err != nil {
			return err
		}
		if err := step.inline(inline); err != nil {
			return err
		}
	}
	c.finishFiles(s, step, cmd)
	for _, source := range step.Sources {
		if step.add == nil || !strings.HasPrefix(source, "http://") && !strings.HasPrefix(source, "https://") {
			step.reads.add(source)
		}
	}
	return c.record(s, step.history(), true)
}

// checkMode refuses a mode before anything else is looked at.
func (c *conversion) checkMode(step *filesStep) error { return setMode(&compose.Copy{}, step.Chmod) }

// destination is a path inside the image, relative to the working directory;
// that it is a directory stays visible.
func destination(s *stage, dest string) (string, error) {
	cleaned, err := withoutDrive(dest, s.system(), true)
	if err != nil {
		return "", fmt.Errorf("removing drive letter: %w", err)
	}
	if cleaned == "." || cleaned == "" {
		cleaned = "./"
	}
	resolved, err := resolve(s.workdir(), cleaned, s.system(), true)
	if err != nil {
		return "", err
	}
	return cleanDest(resolved), nil
}

// source adds the action for one source.
func (c *conversion) source(step *filesStep, source string) error {
	if err := c.budget.spend(step.cost()); err != nil {
		return err
	}
	remote, err := classify(source)
	if err != nil {
		return err
	}
	if remote != nil {
		return c.remote(step, remote)
	}
	return c.local(step, source)
}

// cost is about what one action takes: patterns and destination are repeated in
// each.
func (step *filesStep) cost() int {
	cost := 256 + len(step.dest)
	for _, pattern := range step.Exclude {
		cost += len(pattern) + 16
	}
	return cost
}

// copyTo begins a copy with what all sources have in common.
func (step *filesStep) copyTo() *compose.Copy {
	out := &compose.Copy{Dest: step.dest, MakeDest: true, Exclude: step.Exclude}
	_ = setMode(out, step.Chmod) // was checked
	if step.Chown != "" {
		out.Owner = owner(step.Chown)
	}
	return out
}

// local copies a path of the context, a stage or an image.
func (c *conversion) local(step *filesStep, source string) error {
	if step.local {
		if err := c.checkIgnored(step, source); err != nil {
			return err
		}
	}
	out := step.copyTo()
	out.FollowLinks, out.ContentsOnly, out.Wildcard, out.EmptyWildcard = true, true, true, true
	if step.parents {
		var err error
		if source, err = step.keepParents(out, source); err != nil {
			return err
		}
	}
	resolved, err := resolve("/", source, step.system, false)
	if err != nil {
		return fmt.Errorf("removing drive letter: %w", err)
	}
	out.Src = path.Clean(resolved)
	if step.add != nil {
		out.Unpack = step.add.Unpack == nil || *step.add.Unpack
	}
	step.actions = append(step.actions, fileAction{copy: out, from: step.source})
	return nil
}

// keepParents makes a copy keep the directories of its source, or those behind
// /./ in it. It returns where the copy starts; what it takes is a pattern.
func (step *filesStep) keepParents(out *compose.Copy, source string) (string, error) {
	start, pattern, pivot := strings.Cut(source, "/./")
	if !pivot {
		start, pattern = "/", source
	}
	resolved, err := resolve("/", pattern, step.system, false)
	if err != nil {
		return "", fmt.Errorf("removing drive letter: %w", err)
	}
	out.Include = []string{strings.TrimPrefix(resolved, "/")}
	if !hasWildcard(start) && !hasWildcard(resolved) {
		required, err := resolve("/", path.Join(start, resolved), step.system, false)
		if err != nil {
			return "", fmt.Errorf("removing drive letter: %w", err)
		}
		out.Required = []string{required}
	}
	return start, nil
}

// inline copies a here-document.
func (step *filesStep) inline(file instruction.InlineFile) error {
	name, err := withoutDrive(file.Name, step.system, false)
	if err != nil {
		return fmt.Errorf("removing drive letter: %w", err)
	}
	out := step.copyTo()
	out.Src = path.Join("/", toSlash(name, step.system))
	step.actions = append(step.actions, fileAction{copy: out, from: inlineFile(name, file.Content, 0o644)})
	return nil
}

// finishFiles makes the stage's files of the actions: changed, or with a layer
// of its own on top.
func (c *conversion) finishFiles(s *stage, step *filesStep, _ *command) {
	about := label{name: step.name, ranges: step.about.Ranges, ignoreCache: s.ignoreCache}
	if !step.Link || step.Chmod != "" || c.opt.NoMerge {
		s.files = &node{label: about, work: &fileWork{base: s.files, actions: step.actions}}
		return
	}
	c.groups++
	layer, merged := about, about
	layer.group = &compose.Group{ID: fmt.Sprintf("%s-%d", c.groupPrefix(), c.groups), Name: step.name, Weak: true}
	merged.group = &compose.Group{ID: layer.group.ID, Name: step.name}
	merged.name = strings.TrimSuffix(step.name, step.text) + "LINK " + step.text
	s.files = &node{label: merged, work: &mergeWork{layers: []*node{
		s.files, {label: layer, work: &fileWork{actions: step.actions}},
	}}}
}

// history is the instruction as the image remembers it.
func (step *filesStep) history() string {
	var out strings.Builder
	out.WriteString(step.verb)
	if step.parents {
		out.WriteString(" --parents")
	}
	if step.Chown != "" {
		out.WriteString(" --chown=" + step.Chown)
	}
	if step.Chmod != "" {
		out.WriteString(" --chmod=" + step.Chmod)
	}
	for _, source := range step.Sources {
		out.WriteString(" " + source)
	}
	for _, inline := range step.Inline {
		out.WriteString(" <<" + inline.Name)
	}
	out.WriteString(" " + step.Dest + " # buildkit")
	return out.String()
}

// checkIgnored warns about sources that the client leaves out. Ignore files
// with exceptions are too hard to tell.
func (c *conversion) checkIgnored(step *filesStep, source string) error {
	if c.ignored == nil || c.ignored.Exclusions() {
		return nil
	}
	source = path.Clean(toSlash(source, step.system))
	if (source == "." || source == "/") && !c.ignoresAll() {
		return nil
	}
	ignored, err := c.ignored.MatchesOrParentMatches(source)
	if err == nil && ignored {
		verb := "Copy"
		if step.add != nil {
			verb = "Add"
		}
		c.opt.Linter.Ignored(step.about, verb, source)
	}
	return nil //nolint:nilerr // a path that cannot be matched is nothing to warn about
}

// ignoresAll tells whether everything is ignored. Other patterns say nothing
// about the root of the context.
func (c *conversion) ignoresAll() bool {
	for _, pattern := range c.ignored.Patterns() {
		if text := pattern.String(); text == "*" || text == "**" || text == "**/*" {
			return true
		}
	}
	return false
}
