package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// newDebug has what looks at a daemon without building.
func newDebug(g *globals, daemonRoot string) *cobra.Command {
	cmd := &cobra.Command{Use: "debug", Short: "look at the daemon, its builds and its cache", Args: onlyCommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(newWorkers(g), newInfo(g), newDumpLLB(g), newDumpMetadata(g, daemonRoot), newLogs(g), newHistories(g), newMonitor(g), newGet(g), newCtl(g), newBundle(g))
	return cmd
}

// newDumpLLB shows a graph as it came, even one that a daemon would refuse.
func newDumpLLB(g *globals) *cobra.Command {
	dot := false
	cmd := &cobra.Command{
		Use: "dump-llb [FILE|-]", Short: "dump LLB in human-readable form; needs no daemon", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			in := g.In
			if len(args) > 0 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			def, err := readDefinition(in)
			if err != nil {
				return err
			}
			if dot {
				return llb.DumpDot(g.Out, def)
			}
			return llb.DumpJSON(g.Out, def)
		},
	}
	cmd.Flags().BoolVar(&dot, "dot", false, "output dot format")
	return cmd
}

// maxDefinition bounds a graph that is read, in bytes: a request takes 16 MiB.
const maxDefinition = 64 << 20

// readDefinition reads a graph.
func readDefinition(r io.Reader) (*pb.Definition, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDefinition+1))
	if err != nil {
		return nil, fmt.Errorf("read LLB: %w", err)
	}
	if len(data) > maxDefinition {
		return nil, fmt.Errorf("read LLB: more than %d bytes", maxDefinition)
	}
	def := &pb.Definition{}
	if err := proto.Unmarshal(data, def); err != nil {
		return nil, fmt.Errorf("failed to parse input: %w", err)
	}
	return def, nil
}

// newGet copies a blob to the standard output.
func newGet(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "get DIGEST", Short: "write a blob of the content store to the standard output", Args: oneArg("blob digest"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dgst, err := digest.Parse(args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return g.withClient(cmd, func(ctx context.Context, c *client.Client) error {
				return copyBlob(ctx, c, g.Out, ocispecs.Descriptor{Digest: dgst})
			})
		},
	}
}

// copyBlob writes a blob of the daemon's.
func copyBlob(ctx context.Context, c *client.Client, w io.Writer, desc ocispecs.Descriptor) error {
	ra, err := c.Content().ReaderAt(ctx, desc)
	if err != nil {
		return err
	}
	defer ra.Close()
	_, err = io.CopyBuffer(w, content.NewReader(ra), make([]byte, 1<<20))
	return err
}

// oneArg demands one argument and says what it is.
func oneArg(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New(what + " must be specified")
		}
		return nil
	}
}
