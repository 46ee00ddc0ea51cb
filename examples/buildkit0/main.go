package main

import (
	"flag"

	"github.com/kilnbuild/kiln/examples/internal/example"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

func main() { example.Main(define) }

// define makes the graph.
func define(args []string) (compose.State, error) {
	f := flag.NewFlagSet("buildkit0", flag.ContinueOnError)
	opt := example.Flags(f)
	if err := f.Parse(args); err != nil {
		return compose.State{}, err
	}
	all := compose.Scratch()
	err := opt.Each(func(c example.Component) {
		all = copyAll(opt, stage(opt, c), all)
	})
	return all, err
}

// stage fetches and compiles a component, step by step on one file system. The
// compiler waits for git, although it needs nothing of it for a while.
func stage(opt *example.Options, c example.Component) compose.State {
	git := c.Exec("/", []string{"git", "clone", opt.URL(c), "/src"}, compose.Mount{Dest: "/", Source: opt.Toolchain()})
	cloned := compose.Run(git, compose.Info{}).Root()
	checkout := c.Exec("/src", []string{"git", "checkout", opt.Ref(c)}, compose.Mount{Dest: "/", Source: cloned})
	source := compose.Run(checkout, compose.Info{}).Root()
	mounts := append(example.CompileCaches(), compose.Mount{Dest: "/", Source: source}, compose.Mount{Dest: "/out"})
	// A mount without a source starts empty; what is written there is a result
	// of its own, without the toolchain below it.
	return compose.Run(c.Exec("/src", c.Compile, mounts...), compose.Info{Name: "compile " + c.Name}).Output("/out")
}

// copyAll adds the files of one state to another: with commands alone that
// takes a program which copies.
func copyAll(opt *example.Options, from, to compose.State) compose.State {
	cp := compose.Exec{
		Args: []string{"cp", "-a", "/from/.", "/to/"},
		Mounts: []compose.Mount{
			{Dest: "/", Source: opt.Toolchain(), ReadOnly: true},
			{Dest: "/from", Source: from, ReadOnly: true},
			{Dest: "/to", Source: to},
		},
	}
	return compose.Run(cp, compose.Info{}).Output("/to")
}
