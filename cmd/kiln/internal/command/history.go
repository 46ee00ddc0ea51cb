package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/display"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// eachRecord calls fn for each event of the history.
func eachRecord(ctx context.Context, c *client.Client, req *control.BuildHistoryRequest, fn func(*control.BuildHistoryEvent) error) error {
	stream, err := c.Control.ListenBuildHistory(ctx, req)
	if err != nil {
		return rpcerr.FromGRPC(err)
	}
	for {
		ev, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return rpcerr.FromGRPC(err)
		}
		if err := fn(ev); err != nil {
			return err
		}
	}
}

// records prints events as rows of a table or through a template.
type records struct {
	w      io.Writer
	tmpl   *template.Template
	tw     *tabwriter.Writer
	pinned bool
}

// newRecords returns a printer. The header waits for the first row, so that
// both are lined up together.
func newRecords(w io.Writer, format string, pinned bool) (*records, error) {
	r := &records{w: w, tw: table(w), pinned: pinned}
	if format != "" {
		var err error
		r.tmpl, err = parseFormat(format)
		return r, err
	}
	fmt.Fprint(r.tw, "TYPE\tREF\tCREATED\tCOMPLETED\tGENERATION")
	if pinned {
		fmt.Fprint(r.tw, "\tPINNED")
	}
	fmt.Fprintln(r.tw)
	return r, nil
}

// show prints one event at once: listening may take long.
func (r *records) show(ev *control.BuildHistoryEvent) error {
	if r.tmpl != nil {
		return printFormat(r.w, r.tmpl, ev)
	}
	rec := ev.GetRecord()
	fmt.Fprintf(r.tw, "%s\t%s\t%s\t%s\t%d", ev.GetType(), rec.GetRef(), localTime(rec.GetCreatedAt()), localTime(rec.GetCompletedAt()), rec.GetGeneration())
	if r.pinned {
		mark := ""
		if rec.GetPinned() {
			mark = "*"
		}
		fmt.Fprintf(r.tw, "\t%s", mark)
	}
	fmt.Fprintln(r.tw)
	return r.tw.Flush()
}

// end prints the header if nothing else was printed.
func (r *records) end() error { return r.tw.Flush() }

// localTime formats a time for people, in their zone; templates get the daemon's.
func localTime(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Local().Format(time.RFC3339)
}

// newHistories lists the builds the daemon remembers.
func newHistories(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "histories", Short: "list the builds that the daemon remembers", Args: cobra.NoArgs}
	format := formatFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.withClient(cmd, func(ctx context.Context, c *client.Client) error {
			out, err := newRecords(g.Out, *format, true)
			if err != nil {
				return err
			}
			err = eachRecord(ctx, c, &control.BuildHistoryRequest{EarlyExit: true}, out.show)
			return errors.Join(err, out.end())
		})
	}
	return cmd
}

// newPruneHistories forgets the builds that are not pinned.
func newPruneHistories(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "prune-histories", Short: "forget builds that ended and are not pinned", Args: cobra.NoArgs}
	format := formatFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.withClient(cmd, func(ctx context.Context, c *client.Client) error {
			out, err := newRecords(g.Out, *format, false)
			if err != nil {
				return err
			}
			err = pruneHistories(ctx, c, out.show)
			return errors.Join(err, out.end())
		})
	}
	return cmd
}

// pruneHistories deletes what is not pinned. What cannot be deleted does not
// keep the others.
func pruneHistories(ctx context.Context, c *client.Client, show func(*control.BuildHistoryEvent) error) error {
	var failed []error
	err := eachRecord(ctx, c, &control.BuildHistoryRequest{EarlyExit: true}, func(ev *control.BuildHistoryEvent) error {
		r := ev.GetRecord()
		if r == nil || r.GetPinned() {
			return nil
		}
		if _, err := c.Control.UpdateBuildHistory(ctx, &control.UpdateBuildHistoryRequest{Ref: r.GetRef(), Delete: true}); err != nil {
			failed = append(failed, err)
			return nil
		}
		return show(ev)
	})
	return errors.Join(append(failed, err)...)
}

// newCtl changes one record. The flags exclude each other, for a request says
// one thing.
func newCtl(g *globals) *cobra.Command {
	var pin, unpin, remove bool
	cmd := &cobra.Command{
		Use: "ctl REF", Short: "pin, unpin or forget a build", Args: oneArg("build ref"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !pin && !unpin && !remove:
				return errors.New("must specify one of --pin, --unpin, --delete")
			case pin && unpin:
				return errors.New("cannot specify both --pin and --unpin")
			case remove && (pin || unpin):
				return errors.New("cannot specify --delete with --pin or --unpin")
			}
			return g.withClient(cmd, func(ctx context.Context, c *client.Client) error {
				_, err := c.Control.UpdateBuildHistory(ctx, &control.UpdateBuildHistoryRequest{Ref: args[0], Pinned: pin, Delete: remove})
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&pin, "pin", false, "keep the record until it is unpinned")
	cmd.Flags().BoolVar(&unpin, "unpin", false, "let the record expire")
	cmd.Flags().BoolVar(&remove, "delete", false, "forget the build")
	return cmd
}

// newLogs shows a build again, or one that is running from its beginning.
func newLogs(g *globals) *cobra.Command {
	mode, trace := "", false
	cmd := &cobra.Command{
		Use: "logs REF", Short: "show what a build said, or says", Args: oneArg("build ref"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withClient(cmd, func(ctx context.Context, c *client.Client) error {
				if trace {
					return copyTrace(ctx, c, g.Out, args[0])
				}
				d, err := display.New(display.Options{Out: g.Out, Mode: display.Mode(mode), Getenv: g.getenv})
				if err != nil {
					return err
				}
				err = c.Follow(ctx, args[0], d.Add)
				return errors.Join(err, d.Close())
			})
		},
	}
	cmd.Flags().StringVar(&mode, "progress", "auto", "type of progress (auto, plain, tty, quiet, rawjson)")
	cmd.Flags().BoolVar(&trace, "trace", false, "show the OpenTelemetry trace")
	return cmd
}

// copyTrace prints the trace of a build.
func copyTrace(ctx context.Context, c *client.Client, w io.Writer, ref string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Control.ListenBuildHistory(ctx, &control.BuildHistoryRequest{Ref: ref, EarlyExit: true})
	if err != nil {
		return rpcerr.FromGRPC(err)
	}
	ev, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("ref %s not found", ref)
	}
	if err != nil {
		return rpcerr.FromGRPC(err)
	}
	desc := ev.GetRecord().GetTrace()
	if desc == nil {
		return fmt.Errorf("ref %s does not have trace", ref)
	}
	return copyBlob(ctx, c, w, ocispecs.Descriptor{
		Digest: digest.Digest(desc.GetDigest()), Size: desc.GetSize(), MediaType: desc.GetMediaType(),
	})
}

// newMonitor shows what happens to builds until it is interrupted.
func newMonitor(g *globals) *cobra.Command {
	completed, ref := false, ""
	cmd := &cobra.Command{
		Use: "monitor", Short: "show builds as they begin and end", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.withClient(cmd, func(ctx context.Context, c *client.Client) error {
				return eachRecord(ctx, c, &control.BuildHistoryRequest{ActiveOnly: !completed, Ref: ref}, func(ev *control.BuildHistoryEvent) error {
					return printEvent(g.Out, ev)
				})
			})
		},
	}
	cmd.Flags().BoolVar(&completed, "completed", false, "show builds that ended as well")
	cmd.Flags().StringVar(&ref, "ref", "", "show this build only")
	return cmd
}

// printEvent prints what happened to a record.
func printEvent(w io.Writer, ev *control.BuildHistoryEvent) error {
	r := ev.GetRecord()
	_, err := fmt.Fprintf(w, "event: %s ref:%s\n", ev.GetType(), r.GetRef())
	if r.GetNumTotalSteps() != 0 {
		fmt.Fprintf(w, "  cache: %d/%d\n", r.GetNumCachedSteps(), r.GetNumTotalSteps())
	}
	if r.GetNumWarnings() != 0 {
		fmt.Fprintf(w, "  warnings: %d\n", r.GetNumWarnings())
	}
	if r.GetLogs() != nil {
		fmt.Fprintf(w, "  logs: %s\n", r.GetLogs())
	}
	if r.GetTrace() != nil {
		fmt.Fprintf(w, "  trace: %s\n", r.GetTrace())
	}
	printResult(w, "", r.GetResult())
	for platform, res := range r.GetResults() {
		printResult(w, "["+platform+"] ", res)
	}
	return err
}

// printResult prints what a build made.
func printResult(w io.Writer, prefix string, res *control.BuildResultInfo) {
	if res == nil {
		return
	}
	for _, d := range res.GetResults() {
		fmt.Fprintf(w, "  %sdescriptor: %s\n", prefix, d)
	}
	if d := res.GetResultDeprecated(); d != nil && len(res.GetResults()) == 0 {
		fmt.Fprintf(w, "  %sdescriptor: %s\n", prefix, d)
	}
	for _, d := range res.GetAttestations() {
		fmt.Fprintf(w, "  %sattestation: %s\n", prefix, d)
	}
}
