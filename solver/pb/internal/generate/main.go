package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	root := flag.String("root", ".", "directory of the module")
	check := flag.Bool("check", false, "write nothing; fail when a committed file differs")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run compiles every .proto file below root/solver/pb and writes, or with
// check compares, what the plugins make of them.
func run(ctx context.Context, root string, check bool) error {
	sources, err := findSources(root)
	if err != nil {
		return err
	}
	request, err := compile(ctx, root, sources)
	if err != nil {
		return err
	}
	want := map[string][]byte{}
	for _, plugin := range plugins {
		if err := plugin.generate(ctx, root, request, want); err != nil {
			return err
		}
	}
	if check {
		return compare(root, want)
	}
	return write(root, want)
}
