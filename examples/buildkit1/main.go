package main

import (
	"flag"

	"github.com/kilnbuild/kiln/examples/internal/example"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// fetcher is an image that has git and little else, so that a new toolchain
// does not touch the sources.
const fetcher = "docker.io/alpine/git:latest"

func main() { example.Main(define) }

// define makes the graph.
func define(args []string) (compose.State, error) {
	f := flag.NewFlagSet("buildkit1", flag.ContinueOnError)
	opt := example.Flags(f)
	git := f.String("git", fetcher, "image with git")
	if err := f.Parse(args); err != nil {
		return compose.State{}, err
	}
	var parts []compose.State
	err := opt.Each(func(c example.Component) {
		parts = append(parts, compile(opt, c, source(opt, c, *git)))
	})
	return compose.Merge(parts, compose.Info{}), err
}

// source fetches a component. Only /src leaves it.
func source(opt *example.Options, c example.Component, git string) compose.State {
	root := compose.Mount{Dest: "/", Source: compose.Image(compose.ImageSource{Ref: git}, compose.Info{})}
	clone := compose.Run(c.Exec("/", []string{"git", "clone", opt.URL(c), "/src"}, root, compose.Mount{Dest: "/src"}), compose.Info{})
	checkout := c.Exec("/src", []string{"git", "checkout", opt.Ref(c)}, root, compose.Mount{Dest: "/src", Source: clone.Output("/src")})
	return compose.Run(checkout, compose.Info{}).Output("/src")
}

// compile needs the sources and the toolchain, which arrive side by side.
func compile(opt *example.Options, c example.Component, source compose.State) compose.State {
	mounts := append(example.CompileCaches(),
		compose.Mount{Dest: "/", Source: opt.Toolchain()},
		compose.Mount{Dest: "/src", Source: source, ReadOnly: true},
		compose.Mount{Dest: "/out"})
	return compose.Run(c.Exec("/src", c.Compile, mounts...), compose.Info{Name: "compile " + c.Name}).Output("/out")
}
