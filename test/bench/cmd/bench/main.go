package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/kilnbuild/kiln/test/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run reads the flags, compares, and prints.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	config := bench.Config{Log: log}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&config.Client.Path, "client", "bin/kiln", "client `program`: kiln or buildctl")
	flags.IntVar(&config.Rounds, "rounds", 3, "rounds per workload")
	flags.IntVar(&config.Scale, "scale", 1, "divide all sizes by this, for a quick look")
	flags.StringVar(&config.Dir, "dir", bench.DefaultDir(), "`folder` for contexts; they need a few GB")
	names := flags.String("workloads", "", "comma-separated `names`; empty for all")
	file := flags.String("json", "", "write samples and table as JSON to this `file`")
	flags.Func("daemon", "`NAME=ADDRESS[,pid=N]`; repeat it, the first is the baseline", func(text string) error {
		d, err := bench.ParseDaemon(text)
		config.Daemons = append(config.Daemons, d)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if config.Workloads, err = choose(*names); err != nil {
		return err
	}
	report, err := bench.Run(ctx, config)
	if err != nil {
		return err
	}
	if *file != "" {
		if err := writeJSON(report, *file); err != nil {
			return err
		}
	}
	return report.WriteTable(out)
}

// choose picks workloads by name.
func choose(names string) ([]bench.Workload, error) {
	all := bench.Workloads()
	if names == "" {
		return all, nil
	}
	var chosen []bench.Workload
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(w bench.Workload) bool { return w.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown workload %q: see -help", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// writeJSON writes the report to a file.
func writeJSON(report *bench.Report, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create report: %w", err)
	}
	if err := errors.Join(report.WriteJSON(file), file.Close()); err != nil {
		return fmt.Errorf("write report %s: %w", path, err)
	}
	return nil
}
