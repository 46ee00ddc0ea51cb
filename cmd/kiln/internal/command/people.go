package command

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/attach"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
)

// peopleFlags are the flags that people know from building by hand.
type peopleFlags struct {
	// Lists; only platforms may be given with commas as well.
	tags, buildArgs, labels, platforms, addHosts []string
	// file is the Dockerfile, relative to the working directory unless the
	// context is remote; target the stage; network that of RUN.
	file, target, network string
	// pull resolves base images anew; push needs a tag.
	pull, push bool
}

// peopleNames are the flags that select this form.
var peopleNames = []string{"tag", "file", "target", "build-arg", "label", "platform", "pull", "push", "add-host", "network"}

// add declares the flags, under the names that docker build has for them.
func (p *peopleFlags) add(f *pflag.FlagSet) {
	f.StringArrayVarP(&p.tags, "tag", "t", nil, "name of the image; without one nothing is exported")
	f.StringVarP(&p.file, "file", "f", "", "Dockerfile, \"-\" for standard input (default DIR/Dockerfile)")
	f.StringVar(&p.target, "target", "", "stage to build")
	f.StringArrayVar(&p.buildArgs, "build-arg", nil, "build argument: NAME=VALUE, or NAME for that of the environment")
	f.StringArrayVar(&p.labels, "label", nil, "label of the image: KEY=VALUE")
	f.StringSliceVar(&p.platforms, "platform", nil, "platforms to build for")
	f.BoolVar(&p.pull, "pull", false, "look for newer versions of base images")
	f.BoolVar(&p.push, "push", false, "push the image to its registry")
	f.StringArrayVar(&p.addHosts, "add-host", nil, "entry of /etc/hosts: NAME:IP")
	f.StringVar(&p.network, "network", "", "network of RUN: default, none or host")
}

// used says whether any of the flags is there.
func (p *peopleFlags) used(f *pflag.FlagSet) bool {
	for _, name := range peopleNames {
		if f.Changed(name) {
			return true
		}
	}
	return false
}

// planPeople turns this form into buildctl's: it fills in what those flags
// would have said.
func (b *buildFlags) planPeople(g *globals, p *plan, args []string) error {
	if b.frontend != "" {
		return errors.New("--frontend goes with --local and --opt, not with a directory, -t or -f")
	}
	context := "."
	if len(args) > 0 {
		context = args[0]
	} else if len(b.local) > 0 {
		return errors.New("--local goes with --frontend; name the directory to build instead")
	}
	b.frontend, p.request.Frontend = "dockerfile.v0", "dockerfile.v0"
	if err := b.people.options(b); err != nil {
		return err
	}
	if err := b.people.outputs(b); err != nil {
		return err
	}
	return b.peopleContext(g, p, context)
}

// options adds what becomes an option of the frontend.
func (p *peopleFlags) options(b *buildFlags) error {
	opt := func(key, value string) { b.opt = append(b.opt, key+"="+value) }
	for _, a := range p.buildArgs {
		b.opt = append(b.opt, "build-arg:"+a)
	}
	for _, l := range p.labels {
		if !strings.Contains(l, "=") {
			l += "="
		}
		b.opt = append(b.opt, "label:"+l)
	}
	if p.target != "" {
		opt("target", p.target)
	}
	if len(p.platforms) > 0 {
		opt("platform", strings.Join(p.platforms, ","))
	}
	if p.pull {
		opt("image-resolve-mode", "pull")
	}
	var hosts []string
	for _, h := range p.addHosts {
		name, ip, ok := strings.Cut(h, ":")
		if i := strings.IndexByte(h, '='); i >= 0 && (!ok || i < len(name)) {
			name, ip, ok = h[:i], h[i+1:], true
		}
		if !ok || name == "" || ip == "" {
			return fmt.Errorf("--add-host %q: want NAME:IP", h)
		}
		hosts = append(hosts, name+"="+strings.Trim(ip, "[]"))
	}
	if len(hosts) > 0 {
		opt("add-hosts", strings.Join(hosts, ","))
	}
	switch p.network {
	case "", "default":
	case "none":
		opt("force-network-mode", "none")
	case "host":
		opt("force-network-mode", "host")
		b.allow = append(b.allow, "network.host")
	default:
		return fmt.Errorf("--network %q: want default, none or host", p.network)
	}
	return nil
}

// outputs names the image, and reads the short forms of -o.
func (p *peopleFlags) outputs(b *buildFlags) error {
	for i, o := range b.output {
		switch {
		case o == "-":
			b.output[i] = "type=tar"
		case !strings.Contains(o, "="):
			b.output[i] = `type=local,"dest=` + strings.ReplaceAll(o, `"`, `""`) + `"`
		}
	}
	if len(p.tags) == 0 {
		if p.push {
			return errors.New("--push needs the name of the image: -t NAME")
		}
		return nil
	}
	image := `type=image,"name=` + strings.Join(p.tags, ",") + `"`
	if p.push {
		image += ",push=true"
	}
	b.output = append([]string{image}, b.output...)
	return nil
}

// remote matches contexts that the daemon fetches itself.
var remote = regexp.MustCompile(`^(https?://|git://|ssh://|git@|github\.com/)`)

// peopleContext says where the files come from.
func (b *buildFlags) peopleContext(g *globals, p *plan, context string) error {
	switch {
	case context == "-" && b.people.file == "-":
		return errors.New("only one of the context and the Dockerfile can come from standard input")
	case context == "-":
		return b.stdinContext(g, p)
	case remote.MatchString(context):
		b.opt = append(b.opt, "context="+context)
		if b.people.file == "-" {
			return b.stdinDockerfile(p, g.In)
		}
		if b.people.file != "" {
			b.opt = append(b.opt, "filename="+b.people.file)
		}
		return nil
	}
	b.local = append(b.local, "context="+context)
	if b.people.file == "-" {
		return b.stdinDockerfile(p, g.In)
	}
	file := b.people.file
	if file == "" {
		file = filepath.Join(context, "Dockerfile")
		if other := filepath.Join(context, "Containerfile"); !exists(file) && exists(other) {
			file = other
		}
	}
	if !exists(file) {
		return fmt.Errorf("no Dockerfile at %s (name it with -f)", file)
	}
	b.local = append(b.local, "dockerfile="+filepath.Dir(file))
	b.opt = append(b.opt, "filename="+filepath.Base(file))
	return nil
}

// exists says whether something is there, whatever it is.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// stdinContext takes an archive of the context, or a Dockerfile that needs
// none, from the standard input.
func (b *buildFlags) stdinContext(g *globals, p *plan) error {
	r := bufio.NewReaderSize(g.In, 1<<10)
	head, err := r.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read standard input: %w", err)
	}
	if !isArchive(head) {
		empty, err := p.temp()
		if err != nil {
			return err
		}
		b.local = append(b.local, "context="+empty)
		return b.stdinDockerfile(p, r)
	}
	up := attach.NewUpload(client.NewID(), r)
	p.attach = append(p.attach, up)
	b.opt = append(b.opt, "context="+up.URL())
	if b.people.file != "" {
		b.opt = append(b.opt, "filename="+b.people.file)
	}
	return nil
}

// isArchive tells archives, compressed or not, from text.
func isArchive(head []byte) bool {
	for _, magic := range []string{"\x1f\x8b", "BZh", "\xfd7zXZ", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return len(head) > 262 && string(head[257:262]) == "ustar"
}

// maxDockerfile bounds a Dockerfile from the standard input, in bytes.
const maxDockerfile = 4 << 20

// stdinDockerfile offers a Dockerfile that is in no directory.
func (b *buildFlags) stdinDockerfile(p *plan, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxDockerfile+1))
	if err != nil {
		return fmt.Errorf("read the Dockerfile from standard input: %w", err)
	}
	if len(data) > maxDockerfile {
		return fmt.Errorf("the Dockerfile from standard input is larger than %d bytes", maxDockerfile)
	}
	dir, err := p.temp()
	if err != nil {
		return err
	}
	b.local = append(b.local, "dockerfile="+dir)
	return os.WriteFile(filepath.Join(dir, "Dockerfile"), data, 0o600)
}

// temp makes a directory that lasts as long as the build.
func (p *plan) temp() (string, error) {
	dir, err := os.MkdirTemp("", "kiln-build-")
	if err == nil {
		p.temps = append(p.temps, dir)
	}
	return dir, err
}
