package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// maxDockerfile bounds what is read, in bytes.
const maxDockerfile = 16 << 20

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// run reads a Dockerfile and prints its graph.
func run(ctx context.Context, in io.Reader, out io.Writer, args []string) error {
	f := flag.NewFlagSet("dockerfile2llb", flag.ContinueOnError)
	opts := map[string]string{}
	target := f.String("target", "", "stage to print")
	config := f.String("config", "", "file to write the image's configuration to")
	resolve := f.Bool("resolve", false, "ask registries for the configuration of base images")
	f.Func("opt", "option of the frontend, such as build-arg:NAME=VALUE or platform=linux/arm64", func(v string) error {
		key, value, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("want key=value")
		}
		opts[key] = value
		return nil
	})
	if err := f.Parse(args); err != nil {
		return err
	}
	if *target != "" {
		opts["target"] = *target
	}
	text, err := io.ReadAll(io.LimitReader(in, maxDockerfile))
	if err != nil {
		return fmt.Errorf("read the Dockerfile: %w", err)
	}
	b := &bridge{dockerfile: text}
	if *resolve {
		if b.images, err = newImages(); err != nil {
			return err
		}
		defer b.images.close()
	}
	res, err := dockerfile.New().Solve(ctx, b, frontend.Request{Opts: opts})
	if err != nil {
		return err
	}
	if *config != "" {
		if err := os.WriteFile(*config, res.Metadata[frontend.MetaImageConfig], 0o644); err != nil {
			return err
		}
	}
	return print(ctx, out, res)
}

// print writes the graph of a result.
func print(ctx context.Context, out io.Writer, res *frontend.Result) error {
	if len(res.Refs) > 0 {
		return errors.New("the result has several platforms, and a graph is for one: give -opt platform=")
	}
	def, err := compose.Marshal(compose.Scratch(), compose.Options{})
	if err != nil {
		return err
	}
	if res.Ref != nil {
		if def, err = res.Ref.Definition(ctx); err != nil {
			return err
		}
	}
	if def, err = withoutSession(def); err != nil {
		return err
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}
