package main

import (
	"flag"

	"github.com/kilnbuild/kiln/examples/internal/example"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

func main() { example.Main(define) }

// define makes the graph.
func define(args []string) (compose.State, error) {
	f := flag.NewFlagSet("buildkit2", flag.ContinueOnError)
	opt := example.Flags(f)
	if err := f.Parse(args); err != nil {
		return compose.State{}, err
	}
	var parts []compose.State
	err := opt.Each(func(c example.Component) {
		git := compose.Git(compose.GitSource{URL: opt.URL(c), Ref: opt.Ref(c)}, compose.Info{})
		parts = append(parts, compile(opt, c, git))
	})
	return compose.Merge(parts, compose.Info{}), err
}

// compile runs the compiler over sources, which it cannot change.
func compile(opt *example.Options, c example.Component, source compose.State) compose.State {
	mounts := append(example.CompileCaches(),
		compose.Mount{Dest: "/", Source: opt.Toolchain()},
		compose.Mount{Dest: "/src", Source: source, ReadOnly: true},
		compose.Mount{Dest: "/out"})
	return compose.Run(c.Exec("/src", c.Compile, mounts...), compose.Info{Name: "compile " + c.Name}).Output("/out")
}
