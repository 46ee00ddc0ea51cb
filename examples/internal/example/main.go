package example

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// Options are what the flags of an example say.
type Options struct {
	// Base is the image with the toolchain.
	Base string
	// Mirror replaces https:// before a repository's name.
	Mirror string
	// Refs have what to build of each component, by name.
	Refs map[string]*string
	// Only is the component to build; empty for all.
	Only string
}

// Flags declares the flags that the series has in common.
func Flags(f *flag.FlagSet) *Options {
	o := &Options{Refs: map[string]*string{}}
	f.StringVar(&o.Base, "base", "docker.io/library/golang:1.26", "image with git, go and a C compiler")
	f.StringVar(&o.Mirror, "mirror", "https://", "what stands before the name of a repository, such as http://localhost:8080/")
	f.StringVar(&o.Only, "only", "", "build this component only")
	for _, c := range Components() {
		o.Refs[c.Name] = f.String(c.Name, c.Ref, "branch, tag or commit of "+c.Repo)
	}
	return o
}

// Toolchain is the image to compile in.
func (o *Options) Toolchain() compose.State {
	return compose.Image(compose.ImageSource{Ref: o.Base}, compose.Info{})
}

// URL is where the component's repository is.
func (o *Options) URL(c Component) string { return o.Mirror + c.Repo }

// Ref is what to build of a component.
func (o *Options) Ref(c Component) string { return *o.Refs[c.Name] }

// Each calls fn for the components to build, in order.
func (o *Options) Each(fn func(c Component)) error {
	found := false
	for _, c := range Components() {
		if o.Only == "" || o.Only == c.Name {
			found = true
			fn(c)
		}
	}
	if !found {
		return fmt.Errorf("--only %s: there is no such component", o.Only)
	}
	return nil
}

// Define makes the graph of an example from its arguments.
type Define func(args []string) (compose.State, error)

// Print writes a graph to w in the form that kiln build, kiln debug dump-llb
// and buildctl read. The same arguments give the same bytes.
func Print(w io.Writer, define Define, args []string) error {
	state, err := define(args)
	if err != nil {
		return err
	}
	// A directory of a client without a session is otherwise marked at random.
	def, err := compose.Marshal(state, compose.Options{LocalUnique: "example"})
	if err != nil {
		return err
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// Main is the main function of an example.
func Main(define Define) {
	err := Print(os.Stdout, define, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}
