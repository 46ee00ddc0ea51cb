package imagestore

import (
	"path"
	"strings"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// maxChanges bounds the changes of one import, in bytes.
const maxChanges = 1 << 20

// configured is the configuration that Dockerfile instructions make of an empty
// one; only those that change nothing else are allowed.
func configured(changes []string) (*dockerspec.DockerOCIImageConfig, error) {
	text := "FROM scratch\n" + strings.Join(changes, "\n") + "\n"
	if len(text) > maxChanges {
		return nil, kind(errdefs.ErrInvalidArgument, "changes have %d bytes, more than the limit of %d", len(text), maxChanges)
	}
	lines, err := syntax.Parse([]byte(text))
	if err != nil {
		return nil, kind(errdefs.ErrInvalidArgument, "%s", err)
	}
	file, err := instruction.Parse(lines)
	if err != nil {
		return nil, kind(errdefs.ErrInvalidArgument, "%s", err)
	}
	if len(file.Stages) != 1 {
		return nil, kind(errdefs.ErrInvalidArgument, "FROM is not a valid change command")
	}
	c := &changer{config: &dockerspec.DockerOCIImageConfig{}}
	for _, i := range file.Stages[0].Instructions {
		if err := c.apply(i); err != nil {
			return nil, kind(errdefs.ErrInvalidArgument, "%s", err)
		}
	}
	return c.config, nil
}

// changer applies instructions to a configuration.
type changer struct {
	config *dockerspec.DockerOCIImageConfig
}

// Word implements instruction.Expander.
func (c *changer) Word(text string) (string, error) {
	r, err := shell.Expander{}.Expand(text, shell.List(c.config.Env))
	return r.Text, err
}

// Document implements instruction.Expander.
func (c *changer) Document(text string) (string, error) { return c.Word(text) }

func (c *changer) apply(i instruction.Instruction) error {
	if x, ok := i.(instruction.Expandable); ok {
		expanded, err := x.Expand(c)
		if err != nil {
			return err
		}
		i = expanded
	}
	cfg := c.config
	switch i := i.(type) {
	case *instruction.Cmd:
		cfg.Cmd = commandLine(i.Command)
	case *instruction.Entrypoint:
		cfg.Entrypoint = commandLine(i.Command)
	case *instruction.Env:
		for _, p := range i.Pairs {
			c.env(p)
		}
	case *instruction.Expose:
		return c.expose(i.Ports)
	case *instruction.Healthcheck:
		cfg.Healthcheck = &dockerspec.HealthcheckConfig{Test: i.Test, Interval: i.Interval, Timeout: i.Timeout,
			StartPeriod: i.StartPeriod, StartInterval: i.StartInterval, Retries: i.Retries}
	case *instruction.Label:
		if cfg.Labels == nil {
			cfg.Labels = map[string]string{}
		}
		for _, p := range i.Pairs {
			cfg.Labels[p.Name] = p.Value
		}
	case *instruction.Onbuild:
		cfg.OnBuild = append(cfg.OnBuild, i.Trigger)
	case *instruction.Stopsignal:
		cfg.StopSignal = i.Signal
	case *instruction.User:
		cfg.User = i.User
	case *instruction.Volume:
		if cfg.Volumes == nil {
			cfg.Volumes = map[string]struct{}{}
		}
		for _, p := range i.Paths {
			cfg.Volumes[p] = struct{}{}
		}
	case *instruction.Workdir:
		cfg.WorkingDir = path.Join("/", cfg.WorkingDir, i.Path)
		if path.IsAbs(i.Path) {
			cfg.WorkingDir = path.Clean(i.Path)
		}
	default:
		return kind(errdefs.ErrInvalidArgument, "%s is not a valid change command", strings.ToUpper(i.About().Keyword))
	}
	return nil
}

// env sets a variable, in its old place if it was set.
func (c *changer) env(p instruction.Pair) {
	for i, old := range c.config.Env {
		if name, _, _ := strings.Cut(old, "="); name == p.Name {
			c.config.Env[i] = p.String()
			return
		}
	}
	c.config.Env = append(c.config.Env, p.String())
}

func (c *changer) expose(ports []string) error {
	if c.config.ExposedPorts == nil {
		c.config.ExposedPorts = map[string]struct{}{}
	}
	for _, text := range ports {
		word, err := c.Word(text)
		if err != nil {
			return err
		}
		all, err := lower.Ports(word)
		if err != nil {
			return err
		}
		for _, p := range all {
			c.config.ExposedPorts[p] = struct{}{}
		}
	}
	return nil
}

// commandLine is how a configuration keeps a command.
func commandLine(c instruction.Command) []string {
	if c.Shell && len(c.Args) > 0 {
		return append([]string{"/bin/sh", "-c"}, c.Args...)
	}
	return c.Args
}
