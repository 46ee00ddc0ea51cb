package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/command"
)

func main() {
	name := programName(os.Args[0])
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go watch(signals, cancel, os.Exit)
	streams := command.StandardIO()
	if err := command.Run(ctx, name, versionLine(name), streams, os.Args[1:]); err != nil {
		command.Report(streams.Err, err)
		os.Exit(command.ExitCode(err))
	}
}

// programName is the name to answer under.
func programName(arg0 string) string {
	if filepath.Base(arg0) == "buildctl" {
		return "buildctl"
	}
	return "kiln"
}

// patience is how many signals are taken for requests rather than orders.
const patience = 3

// watch cancels at the first signal and exits at the last.
func watch(signals <-chan os.Signal, cancel context.CancelCauseFunc, exit func(int)) {
	n := 0
	for s := range signals {
		if n++; n >= patience {
			exit(1)
			return
		}
		cancel(fmt.Errorf("got %s: %w", s, context.Canceled))
	}
}
