package lower

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// argEpoch is the argument with the time to write into the image.
const argEpoch = "SOURCE_DATE_EPOCH"

// resolveEpoch reads the argument: seconds, or the name of what has a time.
// Afterwards the argument is in seconds, for steps that look at it, or gone if
// the time is unknown.
func (c *conversion) resolveEpoch(ctx context.Context) error {
	text, given := c.opt.BuildArgs[argEpoch]
	global, declared := c.args.Get(argEpoch)
	if !given {
		text = global
	}
	if !given && !declared || text == "" {
		return nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		epoch := time.Unix(seconds, 0).UTC()
		c.epoch = &epoch
		return nil
	}
	source, logName, err := c.epochSource(ctx, text)
	if err != nil {
		return err
	}
	if c.epoch, err = c.resolver.Time(ctx, source, "[internal] resolve "+logName); err != nil {
		return err
	}
	c.opt.BuildArgs = maps.Clone(c.opt.BuildArgs)
	delete(c.opt.BuildArgs, argEpoch)
	c.args.remove(argEpoch)
	if c.epoch == nil {
		return nil
	}
	seconds := strconv.FormatInt(c.epoch.Unix(), 10)
	if given {
		c.opt.BuildArgs[argEpoch] = seconds
	}
	if declared {
		c.args.set(argEpoch, seconds)
	}
	return nil
}

// epochSource finds what has the time: the build context, a named context, or a
// stage that only downloads something.
func (c *conversion) epochSource(ctx context.Context, name string) (state compose.State, logName string, err error) {
	if name == "context" {
		state, err = c.resolver.Main(ctx, nil)
		return state, "main build context metadata", err
	}
	found, err := c.namedContext(ctx, name, nil)
	if err != nil {
		return state, "", err
	}
	if found != nil {
		loaded, err := found.Load(ctx)
		if err == nil && loaded.Open != nil {
			state, err = loaded.Open(nil)
		}
		return state, argEpoch + " named context " + name, err
	}
	for _, source := range c.file.Stages {
		if source.Name != "" && strings.EqualFold(source.Name, name) {
			state, err = c.epochStage(source)
			return state, argEpoch + " source stage " + source.Name, syntax.At(err, source.Ranges)
		}
	}
	return state, "", fmt.Errorf("invalid SOURCE_DATE_EPOCH: %s", name)
}

// epochStage reads a stage that is nothing but one remote ADD.
func (c *conversion) epochStage(source *instruction.Stage) (state compose.State, err error) {
	env := c.args.clone()
	env.remove(argEpoch)
	x := shell.Expander{Escape: c.file.Escape}
	base, err := c.expand(x, source.Base, env)
	if err != nil {
		return state, fmt.Errorf("failed to process source stage base name %q: %w", source.Base, err)
	}
	if base.Text != scratch {
		return state, errors.New("SOURCE_DATE_EPOCH stage must use FROM scratch")
	}
	found := false
	for _, i := range source.Instructions {
		switch i := i.(type) {
		case *instruction.Arg:
			err = c.epochArgs(i, env)
		case *instruction.Add:
			if found {
				return state, errors.New("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD")
			}
			found = true
			state, err = c.epochAdd(i, env)
		default:
			err = fmt.Errorf("SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported %s instruction", i.About().Keyword)
		}
		if err != nil {
			return state, err
		}
	}
	if !found {
		return state, errors.New("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD")
	}
	return state, nil
}

// epochArgs declares a stage's arguments as far as its ADD can see them.
func (c *conversion) epochArgs(i *instruction.Arg, env *environ) error {
	for _, a := range i.Args {
		if given, ok := c.opt.BuildArgs[a.Name]; ok {
			env.set(a.Name, given)
			continue
		}
		if a.Default == nil {
			continue
		}
		value, err := c.expand(shell.Expander{Escape: c.file.Escape}, *a.Default, env)
		if err != nil {
			return err
		}
		env.set(a.Name, value.Text)
	}
	return nil
}

// epochAdd makes a source of the ADD. It is the same source as the stage's own,
// so that what was looked up is what will be fetched.
func (c *conversion) epochAdd(i *instruction.Add, env *environ) (state compose.State, err error) {
	if len(i.Inline) != 0 || len(i.Sources) != 1 {
		return state, errors.New("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source")
	}
	x := shell.Expander{Escape: c.file.Escape}
	source, err := c.expand(x, i.Sources[0], env)
	if err != nil {
		return state, err
	}
	checksum, err := c.expand(x, i.Checksum, env)
	if err != nil {
		return state, err
	}
	remote, err := classify(source.Text)
	switch {
	case err != nil:
		return state, err
	case remote == nil:
		return state, errors.New("SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD")
	case remote.git != nil:
		git := remote.git.Source()
		git.MTime = ""
		git.KeepGitDir = git.KeepGitDir || i.KeepGitDir != nil && *i.KeepGitDir
		if checksum.Text != "" {
			git.Checksum = checksum.Text
		}
		return compose.Git(git, compose.Info{}), nil
	}
	file := compose.HTTPSource{URL: remote.url, File: compose.FileSource{Filename: downloadName(remote.url)}}
	if checksum.Text != "" {
		if file.Checksum, err = digest.Parse(checksum.Text); err != nil {
			return state, err
		}
	}
	return compose.HTTP(file, compose.Info{}), nil
}

// downloadName is the name of a downloaded file: the end of its URL's path.
func downloadName(link string) string {
	if parsed, err := url.Parse(link); err == nil {
		if base := path.Base(parsed.Path); base != "." && base != "/" {
			return base
		}
	}
	return "__unnamed__"
}
