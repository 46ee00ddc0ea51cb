package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/cmd/internal/manual"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
)

// IO is the standard streams of a command.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	// LookupEnv finds environment variables.
	LookupEnv func(string) (string, bool)
}

// StandardIO is the streams and the environment of this process.
func StandardIO() IO {
	return IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, LookupEnv: os.LookupEnv}
}

// getenv returns a variable, empty if it is not set.
func (s IO) getenv(name string) string {
	v, _ := s.LookupEnv(name)
	return v
}

// globals are the flags before the command.
type globals struct {
	IO
	dial      client.Options
	timeout   int
	debug     bool
	logFormat string
	log       *slog.Logger
	profiles  profiles
}

// Addresses that are used unless something else is said.
const (
	kilnAddress     = "unix:///run/kiln/kilnd.sock"
	buildctlAddress = "unix:///run/buildkit/buildkitd.sock"
)

// State directories of the daemons at these addresses.
const (
	kilnRoot     = "/var/lib/kiln"
	buildctlRoot = "/var/lib/buildkit"
)

// Run runs a command line under a name, kiln or buildctl; version is what
// --version prints. The error goes to Report and ExitCode.
func Run(ctx context.Context, name, version string, streams IO, args []string) error {
	g := &globals{IO: streams}
	root := g.newRoot(name, version)
	root.SetArgs(normalize(root, args))
	err := root.ExecuteContext(ctx)
	return errors.Join(err, g.profiles.stop())
}

// newRoot declares all commands.
func (g *globals) newRoot(name, version string) *cobra.Command {
	showVersion, manualDir := false, ""
	root := &cobra.Command{
		Use:           name,
		Short:         "build container images",
		Args:          onlyCommands,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if err := g.openLog(); err != nil {
				return err
			}
			return g.profiles.start()
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				_, err := fmt.Fprintln(g.Out, version)
				return err
			}
			if manualDir != "" {
				return manual.Write(manualDir, cmd, manualInfo)
			}
			return cmd.Help()
		},
	}
	root.SetIn(g.In)
	root.SetOut(g.Out)
	root.SetErr(g.Err)
	addr, daemonRoot := kilnAddress, kilnRoot
	if name == "buildctl" {
		addr, daemonRoot = buildctlAddress, buildctlRoot
	}
	if v := g.getenv("BUILDKIT_HOST"); v != "" {
		addr = v
	}
	f := root.PersistentFlags()
	f.StringVar(&g.dial.Addr, "addr", addr, "address of the daemon; of several, separated by commas, a build goes to the one its source belongs to (env BUILDKIT_HOST)")
	f.BoolVar(&g.debug, "debug", false, "enable debug output in logs")
	f.StringVar(&g.logFormat, "log-format", "text", "log formatter: json or text")
	f.StringVar(&g.dial.ServerName, "tlsservername", "", "server name for certificate validation")
	f.StringVar(&g.dial.CA, "tlscacert", "", "CA certificate for validation")
	f.StringVar(&g.dial.Cert, "tlscert", "", "client certificate")
	f.StringVar(&g.dial.Key, "tlskey", "", "client key")
	f.StringVar(&g.dial.Dir, "tlsdir", "", "directory with ca.pem, cert.pem, key.pem (or ca.crt, tls.crt, tls.key)")
	f.IntVar(&g.timeout, "timeout", 5, "timeout of the connection in seconds")
	f.BoolVar(&g.dial.Wait, "wait", false, "wait until the daemon can be reached, --timeout seconds if that is given")
	g.profiles.add(f)
	root.Flags().BoolVarP(&showVersion, "version", "v", false, "print the version")
	root.Flags().StringVar(&manualDir, manual.Flag, "", "write man pages and completions to this directory")
	root.Flags().Lookup(manual.Flag).Hidden = true
	root.AddCommand(newBuild(g), newDiskUsage(g), newPrune(g), newPruneHistories(g), newDialStdio(g), newDebug(g, daemonRoot), newInstallProxy(g))
	return root
}

// manualInfo is what the manual says beside the commands.
var manualInfo = manual.Info{
	Section: 1,
	Files:   [][2]string{{"/run/kiln/kilnd.sock", "the daemon's socket"}},
	SeeAlso: []string{"kilnd(8)"},
}

// openLog prepares what is said beside results and progress.
func (g *globals) openLog() error {
	level := slog.LevelInfo
	if g.debug {
		level = slog.LevelDebug
	}
	opts := &slog.HandlerOptions{Level: level}
	switch g.logFormat {
	case "json":
		g.log = slog.New(slog.NewJSONHandler(g.Err, opts))
	case "text", "":
		g.log = slog.New(slog.NewTextHandler(g.Err, opts))
	default:
		return fmt.Errorf("unsupported log type %q", g.logFormat)
	}
	return nil
}

// connect dials the daemon. Close the client after use.
func (g *globals) connect(cmd *cobra.Command) (*client.Client, error) {
	opt := g.dial
	if !opt.Wait || cmd.Flags().Changed("timeout") {
		opt.Timeout = time.Duration(g.timeout) * time.Second
	}
	return client.Dial(cmd.Context(), opt)
}

// withClient runs fn with a connection.
func (g *globals) withClient(cmd *cobra.Command, fn func(ctx context.Context, c *client.Client) error) error {
	c, err := g.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	return fn(cmd.Context(), c)
}
