package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/cmd/internal/manual"
)

func main() {
	name := programName(os.Args[0])
	if needsSupervisor() {
		code, err := supervise()
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			code = 1
		}
		os.Exit(code)
	}
	// File modes of build contexts are set exactly as clients send them.
	syscall.Umask(0)
	if err := command(name).ExecuteContext(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// programName is the name to answer under: buildkitd where that is the file's name, kilnd everywhere else.
func programName(arg0 string) string {
	if filepath.Base(arg0) == "buildkitd" {
		return "buildkitd"
	}
	return "kilnd"
}

// command is the whole command line.
func command(name string) *cobra.Command {
	flags := &Flags{}
	showVersion, manualDir := false, ""
	cmd := &cobra.Command{
		Use:           name,
		Short:         "build container images inside containerd",
		Long:          description,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				fmt.Fprintln(cmd.OutOrStdout(), versionLine(name))
				return nil
			}
			if manualDir != "" {
				return manual.Write(manualDir, cmd, manualInfo)
			}
			settings, err := flags.Settings(cmd.Context(), cmd.Flags(), DefaultPaths(name))
			if err != nil {
				return err
			}
			signals := make(chan os.Signal, 3)
			signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
			defer signal.Stop(signals)
			stop := watchSignals(cmd.Context(), signals, os.Exit)
			defer stop.end()
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			settings.Hangups = hangups
			settings.Again = func() (*Settings, error) {
				return flags.Settings(cmd.Context(), cmd.Flags(), DefaultPaths(name))
			}
			return run(stop, settings)
		},
	}
	flags.register(cmd.Flags(), name)
	cmd.Flags().BoolVarP(&showVersion, "version", "v", false, "print the version and exit")
	cmd.Flags().StringVar(&manualDir, manual.Flag, "", "write man pages and completions to this directory and exit")
	cmd.Flags().Lookup(manual.Flag).Hidden = true
	return cmd
}
