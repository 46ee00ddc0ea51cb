package lower

import (
	"fmt"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/sys/signal"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// labels sets labels; later ones win.
func (c *conversion) labels(s *stage, i *instruction.Label) error {
	c.opt.Linter.Legacy(&i.Meta, i.Pairs)
	var text strings.Builder
	text.WriteString("LABEL")
	if s.image.Config.Labels == nil {
		s.image.Config.Labels = map[string]string{}
	}
	for _, pair := range i.Pairs {
		s.image.Config.Labels[pair.Name] = pair.Value
		text.WriteString(" " + pair.String())
	}
	return c.record(s, text.String(), false)
}

// once remembers where the last instruction of a kind stands and warns about
// the one before.
func (c *conversion) once(about *instruction.Meta, seen *[]syntax.Range) {
	if *seen != nil {
		c.opt.Linter.Repeated(about, *seen)
	}
	*seen = about.Ranges
}

// inShell puts the image's shell in front of a command in shell form.
func (s *stage) inShell(args []string) []string {
	shell := s.image.Config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
		if s.image.OS == windows {
			shell = []string{"cmd", "/S", "/C"}
		}
	}
	return append(slices.Clone(shell), strings.Join(args, " "))
}

// commandLine is what CMD and ENTRYPOINT store.
func (c *conversion) commandLine(s *stage, about *instruction.Meta, command instruction.Command) []string {
	if !command.Shell {
		return command.Args
	}
	if len(s.image.Config.Shell) == 0 {
		c.opt.Linter.ShellForm(about)
	}
	return s.inShell(command.Args)
}

// cmd sets the command. ArgsEscaped tells engines that wrote their own command
// lines, on Windows, not to quote it again.
func (c *conversion) cmd(s *stage, i *instruction.Cmd) error {
	c.once(&i.Meta, &s.seen.cmd)
	args := c.commandLine(s, &i.Meta, i.Command)
	s.image.Config.Cmd = args
	s.image.Config.ArgsEscaped = true //nolint:staticcheck // deprecated, but Docker still reads it
	return c.record(s, fmt.Sprintf("CMD %q", args), false)
}

// entrypoint drops the base image's command: it was meant for another program.
func (c *conversion) entrypoint(s *stage, i *instruction.Entrypoint) error {
	c.once(&i.Meta, &s.seen.entrypoint)
	args := c.commandLine(s, &i.Meta, i.Command)
	s.image.Config.Entrypoint = args
	if s.seen.cmd == nil {
		s.image.Config.Cmd = nil
	}
	return c.record(s, fmt.Sprintf("ENTRYPOINT %q", args), false)
}

// healthcheck replaces the whole check, the base image's included.
func (c *conversion) healthcheck(s *stage, i *instruction.Healthcheck) error {
	c.once(&i.Meta, &s.seen.healthcheck)
	check := dockerspec.HealthcheckConfig{
		Test: i.Test, Interval: i.Interval, Timeout: i.Timeout, StartPeriod: i.StartPeriod,
		StartInterval: i.StartInterval, Retries: i.Retries,
	}
	s.image.Config.Healthcheck = &check
	return c.record(s, fmt.Sprintf("HEALTHCHECK %+v", check), false)
}

// maxPorts bounds the ports of one image: EXPOSE 0-65535 stands for 65536 of
// them.
const maxPorts = 3 * 65536

// expose adds ports. A variable may hold several of them.
func (c *conversion) expose(s *stage, i *instruction.Expose) error {
	ports := []string{}
	for _, word := range i.Ports {
		expanded, err := c.expand(shell.Expander{Escape: c.file.Escape}, word, s.env)
		if err != nil {
			return err
		}
		for _, text := range expanded.Words {
			spec, err := parsePort(text)
			if err != nil {
				return err
			}
			c.opt.Linter.Port(&i.Meta, text, spec.protocol, spec.mapped())
			more, err := spec.expand()
			if err != nil {
				return err
			}
			if ports = append(ports, more...); len(ports) > maxPorts {
				return fmt.Errorf("EXPOSE lists more than %d ports", maxPorts)
			}
		}
	}
	if s.image.Config.ExposedPorts == nil {
		s.image.Config.ExposedPorts = map[string]struct{}{}
	}
	for _, port := range ports {
		s.image.Config.ExposedPorts[port] = struct{}{}
	}
	return c.record(s, fmt.Sprintf("EXPOSE %v", ports), false)
}

// setUser changes the user of later steps; whether there is one of that name is
// found out when a step runs.
func (c *conversion) setUser(s *stage, i *instruction.User) error {
	s.user, s.image.Config.User = i.User, i.User
	return c.record(s, "USER "+i.User, false)
}

// volumes adds mount points. They are only declared: what later steps write
// there stays in the image.
func (c *conversion) volumes(s *stage, i *instruction.Volume) error {
	if s.image.Config.Volumes == nil {
		s.image.Config.Volumes = map[string]struct{}{}
	}
	for _, path := range i.Paths {
		if path == "" {
			return instruction.ErrEmptyVolume
		}
		s.image.Config.Volumes[path] = struct{}{}
	}
	return c.record(s, fmt.Sprintf("VOLUME %v", i.Paths), false)
}

// stopSignal checks the signal's name or number by Linux's list.
func (c *conversion) stopSignal(s *stage, i *instruction.Stopsignal) error {
	if _, err := signal.ParseSignal(i.Signal); err != nil {
		return err
	}
	s.image.Config.StopSignal = i.Signal
	return c.record(s, "STOPSIGNAL "+i.Signal, false)
}

// shell changes what later shell forms are put in front of.
func (c *conversion) shell(s *stage, i *instruction.Shell) error {
	s.image.Config.Shell = i.Shell
	return c.record(s, fmt.Sprintf("SHELL %v", i.Shell), false)
}
