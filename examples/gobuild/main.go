package main

import (
	"errors"
	"flag"
	"path"

	"github.com/kilnbuild/kiln/examples/internal/example"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// Names that both graphs know.
const (
	// sourceName is the directory of the client with the module.
	sourceName = "src"
	// programName is the one with this program.
	programName = "program"
	// definition is the file in which the first graph's last step looks.
	definition = "buildkit.llb.definition"
)

func main() { example.Main(define) }

// options are what the flags say.
type options struct {
	// base is the image with the Go tools.
	base string
	// program is "build" or "local".
	program string
	// inner makes the second graph, from the module in the working directory.
	inner bool
	// pkg is the package to build, relative to the module.
	pkg string
}

// define makes the first graph, or the second.
func define(args []string) (compose.State, error) {
	var opt options
	f := flag.NewFlagSet("gobuild", flag.ContinueOnError)
	f.StringVar(&opt.base, "base", "docker.io/library/golang:1.26", "image with the Go tools")
	f.StringVar(&opt.program, "program", "build", "where this program comes from inside the build: build or local")
	f.BoolVar(&opt.inner, "inner", false, "print the second graph; used by the first one")
	if err := f.Parse(args); err != nil {
		return compose.State{}, err
	}
	if opt.pkg = f.Arg(0); opt.pkg == "" || f.NArg() > 1 {
		return compose.State{}, errors.New("want one package, such as ./cmd/kiln")
	}
	if opt.inner {
		return inner(opt)
	}
	return outer(opt)
}

// outer is the first graph.
func outer(opt options) (compose.State, error) {
	var program compose.State
	switch opt.program {
	case "build":
		program = goRun(opt, []string{"go", "build", "-o", "/out/gobuild", "./examples/gobuild"}, sources(nil)).Output("/out")
	case "local":
		program = compose.Local(compose.LocalSource{Name: programName}, compose.Info{})
	default:
		return compose.State{}, errors.New("-program: want build or local")
	}
	plan := compose.Run(compose.Exec{
		Args: []string{"sh", "-c", "/program/gobuild -inner -base " + quote(opt.base) + " " + quote(opt.pkg) + " > /out/" + definition},
		Dir:  "/src", Env: goEnv,
		Mounts: append(caches(),
			compose.Mount{Dest: "/", Source: image(opt)},
			compose.Mount{Dest: "/src", Source: sources(nil), ReadOnly: true},
			compose.Mount{Dest: "/program", Source: program, ReadOnly: true},
			compose.Mount{Dest: "/out"}),
	}, compose.Info{Name: "plan " + opt.pkg})
	// What this yields is not the file but what the graph in it yields.
	return compose.Build(plan.Output("/out"), "", compose.Info{Name: "build " + opt.pkg}), nil
}

// inner is the second graph.
func inner(opt options) (compose.State, error) {
	files, err := dependencies(opt.pkg)
	if err != nil {
		return compose.State{}, err
	}
	modules := goRun(opt, []string{"go", "mod", "download"}, sources([]string{"go.mod", "go.sum"})).Output("/go/pkg/mod")
	return compose.Run(compose.Exec{
		Args: []string{"go", "build", "-trimpath", "-o", "/out/" + path.Base(opt.pkg), opt.pkg},
		Dir:  "/src", Env: goEnv, Network: compose.NoNetwork,
		Mounts: []compose.Mount{
			{Dest: "/", Source: image(opt)},
			{Dest: "/src", Source: sources(files), ReadOnly: true},
			{Dest: "/go/pkg/mod", Source: modules, ReadOnly: true},
			{Dest: "/root/.cache/go-build", Type: compose.Cache, ID: "go-build"},
			{Dest: "/out"},
		},
	}, compose.Info{Name: "compile " + opt.pkg}).Output("/out"), nil
}

// goEnv is the environment of all commands.
var goEnv = []string{
	"PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "GOPATH=/go", "GOFLAGS=-mod=mod -modcacherw", "CGO_ENABLED=0",
}

// goRun runs the Go tools in sources; modules and /out are results.
func goRun(opt options, args []string, source compose.State) compose.Process {
	return compose.Run(compose.Exec{
		Args: args, Dir: "/src", Env: goEnv,
		Mounts: []compose.Mount{
			{Dest: "/", Source: image(opt)},
			{Dest: "/src", Source: source},
			{Dest: "/go/pkg/mod"},
			{Dest: "/root/.cache/go-build", Type: compose.Cache, ID: "go-build"},
			{Dest: "/out"},
		},
	}, compose.Info{})
}

// caches are kept between builds.
func caches() []compose.Mount {
	return []compose.Mount{
		{Dest: "/root/.cache/go-build", Type: compose.Cache, ID: "go-build"},
		{Dest: "/go/pkg/mod", Type: compose.Cache, ID: "go-mod"},
	}
}

func image(opt options) compose.State {
	return compose.Image(compose.ImageSource{Ref: opt.base}, compose.Info{})
}

// sources are files of the client's module; nil for all.
func sources(files []string) compose.State {
	// Both graphs name the same directory: one transfer helps the other.
	return compose.Local(compose.LocalSource{
		Name: sourceName, Include: files, Exclude: []string{".git", "bin"}, SharedKeyHint: "gobuild",
	}, compose.Info{})
}
