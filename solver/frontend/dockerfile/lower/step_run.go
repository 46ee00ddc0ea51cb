package lower

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// pipesDir is where a here-document that is a script of its own appears.
const pipesDir = "/dev/pipes/"

// runStep is a RUN on its way to a process.
type runStep struct {
	args    []string
	comment string // what the step's name says beside the instruction's text
	script  *node  // a file with a here-document
}

// runCommand lowers RUN.
func (c *conversion) runCommand(s *stage, i *instruction.Run, cmd *command) error {
	s.reads.add("/")
	step, err := c.commandOf(s, i)
	if err != nil {
		return err
	}
	// What a step's environment costs is paid here, or thousands of steps would
	// multiply it.
	if err := c.budget.spend(s.env.size + 64*len(s.env.order)); err != nil {
		return err
	}
	work := &execWork{exec: c.process(s, i, step.args)}
	work.mount(compose.Mount{Dest: "/"}, s.files)
	if step.script != nil {
		work.mount(compose.Mount{Dest: pipesDir, ReadOnly: true}, step.script)
	}
	if err := c.mounts(s, i, cmd, work); err != nil {
		return err
	}
	if size := c.opt.Exec.ShmSize; size > 0 {
		work.mount(compose.Mount{Dest: "/dev/shm", Type: compose.Tmpfs, Size: size}, nil)
	}
	x := shell.Expander{KeepQuotes: true, KeepUnset: true}
	name := onbuildMark(cmd) + c.shown(x, i.Text+step.comment, maskSecrets(i, s.env))
	history := "RUN " + c.declaredValues(s) + strings.Join(step.args, " ") + " # buildkit"
	text := i.Text
	s.files = &node{work: work, label: label{
		name: c.stepName(s, name, s.platform, s.env), source: &text, ranges: i.Ranges, ignoreCache: s.ignoreCache,
		platform: s.platform, resources: c.opt.Exec.Resources,
	}}
	return c.record(s, history, true)
}

// commandOf works out the arguments of the process.
func (c *conversion) commandOf(s *stage, i *instruction.Run) (runStep, error) {
	step := runStep{args: i.Args}
	if len(i.Heredocs) > 0 {
		if len(i.Args) != 1 || !i.Shell {
			return step, fmt.Errorf("parsing produced an invalid run command: %v", i.Args)
		}
		c.withHeredocs(s, i, &step)
	}
	if i.Shell {
		step.args = s.inShell(step.args)
	}
	return step, nil
}

// withHeredocs gives a command its here-documents. One that is the whole
// command is a script, for the shell or, if it names its interpreter, to be run
// itself; others are put behind the command for the shell to read.
func (c *conversion) withHeredocs(s *stage, i *instruction.Run, step *runStep) {
	if _, whole := syntax.ParseHeredoc(i.Args[0]); !whole {
		var text strings.Builder
		text.WriteString(i.Args[0])
		for _, doc := range i.Heredocs {
			text.WriteString("\n" + doc.Content + doc.Name)
		}
		step.args = []string{text.String()}
		return
	}
	doc := i.Heredocs[0]
	script := doc.Text()
	step.args = []string{script}
	step.comment = " (" + firstLine(doc.Content) + ")"
	if strings.HasPrefix(script, "#!") && s.image.OS != windows {
		step.script = inlineFile(doc.Name, script, 0o755)
		step.args = []string{path.Join(pipesDir, doc.Name)}
	}
}

// firstLine is what a step's name shows of a here-document.
func firstLine(text string) string {
	line, _, more := strings.Cut(strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n"), "\n")
	if more {
		line += "..."
	}
	return line
}

// inlineFile is a file system with one file.
func inlineFile(name, content string, mode uint32) *node {
	file := compose.Mkfile{Path: path.Join("/", name), Mode: mode, Data: []byte(content)}
	return &node{
		label: label{name: "[internal] preparing inline document"},
		work:  &fileWork{actions: []fileAction{{other: file}}},
	}
}

// process is the process without its mounts.
func (c *conversion) process(s *stage, i *instruction.Run, args []string) compose.Exec {
	opt := &c.opt.Exec
	exec := compose.Exec{
		Args: args, Env: s.env.strings(), Dir: s.workdir(), User: s.user, Hostname: opt.Hostname,
		CgroupParent: opt.CgroupParent, Network: opt.Network, Hosts: opt.ExtraHosts, Ulimits: opt.Ulimits, Proxy: c.proxy,
	}
	switch i.Network {
	case "none":
		exec.Network = compose.NoNetwork
	case "host":
		exec.Network = compose.HostNetwork
	}
	if i.Security == "insecure" {
		exec.Security = compose.Insecure
	}
	for _, d := range i.Devices {
		exec.Devices = append(exec.Devices, compose.Device{Name: d.Name, Optional: !d.Required})
	}
	return exec
}

// mount adds a mount with what it shows. One at the same place as an earlier
// one hides that, so it takes its place; the root is never hidden.
func (w *execWork) mount(mount compose.Mount, from *node) {
	for i, earlier := range w.exec.Mounts {
		if i > 0 && mount.Dest != "" && earlier.Dest == mount.Dest {
			w.exec.Mounts[i], w.from[i] = mount, from
			return
		}
	}
	w.exec.Mounts = append(w.exec.Mounts, mount)
	w.from = append(w.from, from)
}

// declaredValues puts the stage's arguments in front of a command in the
// history, as in `|2 A=1 B=2 `.
func (c *conversion) declaredValues(s *stage) string {
	var texts []string
	at := map[string]int{}
	for _, arg := range s.args {
		value, set := s.env.Get(arg.name)
		if !set && arg.value != nil {
			value = *arg.value
		}
		text := arg.name + "=" + value
		if i, seen := at[arg.name]; seen {
			texts[i] = text
			continue
		}
		at[arg.name] = len(texts)
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		return ""
	}
	return "|" + strconv.Itoa(len(texts)) + " " + strings.Join(texts, " ") + " "
}

// maskSecrets shows variables that hold secrets as stars.
func maskSecrets(i *instruction.Run, env *environ) shell.Env {
	masked := env
	for _, mount := range i.Mounts {
		if mount.Type == instruction.MountSecret && mount.Env != nil {
			if masked == env {
				masked = env.clone()
			}
			masked.set(*mount.Env, "****")
		}
	}
	return masked
}
