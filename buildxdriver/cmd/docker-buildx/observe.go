package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"

	"github.com/docker/cli/cli/command"
	"github.com/moby/buildkit/util/tracing/detect"
	"go.opentelemetry.io/otel"
)

// silence drops errors of sending traces: nobody who builds can act on them.
type silence struct{}

// Handle implements otel.ErrorHandler.
func (silence) Handle(error) {}

// quietTraces names the process in traces and keeps their errors off the
// terminal.
func quietTraces() {
	detect.ServiceName = "buildx"
	otel.SetErrorHandler(silence{})
}

// flushMetrics sends what is not sent yet; as a plugin, the library does it.
func flushMetrics(cli *command.DockerCli) {
	provider, ok := cli.MeterProvider().(command.MeterProvider)
	if !ok {
		return
	}
	if err := provider.ForceFlush(context.Background()); err != nil {
		otel.Handle(err)
	}
}

// profiled calls do and writes the profiles that $BUILDX_CPU_PROFILE and
// $BUILDX_MEM_PROFILE ask for. A profile that fails does not fail the command.
func profiled(do func() error) error {
	if f := profile("BUILDX_CPU_PROFILE"); f != nil {
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			fmt.Fprintf(os.Stderr, "profile the CPU: %v\n", err)
		}
		defer pprof.StopCPUProfile()
	}
	err := do()
	if f := profile("BUILDX_MEM_PROFILE"); f != nil {
		defer f.Close()
		runtime.GC() // The profile is of what is held, as of the last collection.
		if err := pprof.WriteHeapProfile(f); err != nil {
			fmt.Fprintf(os.Stderr, "profile the memory: %v\n", err)
		}
	}
	return err
}

// profile creates the file that a variable names; nil if none.
func profile(variable string) *os.File {
	path := os.Getenv(variable)
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		fmt.Fprintf(os.Stderr, "create the file of $%s: %v\n", variable, err)
		return nil
	}
	return f
}
