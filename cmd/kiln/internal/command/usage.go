package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/display"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// usage is one record as templates see it; the JSON names are known to
// scripts.
type usage struct {
	ID          string     `json:"id"`
	Mutable     bool       `json:"mutable"`
	InUse       bool       `json:"inUse"`
	Size        int64      `json:"size"`
	CreatedAt   time.Time  `json:"createdAt"`
	LastUsedAt  *time.Time `json:"lastUsedAt"`
	UsageCount  int        `json:"usageCount"`
	Parents     []string   `json:"parents"`
	Description string     `json:"description"`
	RecordType  string     `json:"recordType"`
	Shared      bool       `json:"shared"`
}

// toUsage converts from the wire type. LastUsedAt stays nil for what was never
// used.
func toUsage(r *control.UsageRecord) *usage {
	u := &usage{
		ID: r.GetID(), Mutable: r.GetMutable(), InUse: r.GetInUse(), Size: r.GetSize(), CreatedAt: r.GetCreatedAt().AsTime(),
		UsageCount: int(r.GetUsageCount()), Parents: r.GetParents(), Description: r.GetDescription(),
		RecordType: r.GetRecordType(), Shared: r.GetShared(),
	}
	if r.GetLastUsedAt() != nil {
		at := r.GetLastUsedAt().AsTime()
		u.LastUsedAt = &at
	}
	return u
}

// usageFlags are common to du and prune.
type usageFlags struct {
	filter  []string
	verbose bool
	format  *string
}

// recordFilters explains --filter of du and prune.
const recordFilters = "only records with this, e.g. type==exec.cachemount, id~=^abc, description~=apt or private; a comma is and, several flags are or"

// add declares the flags; filters says what --filter takes. Several filters are
// alternatives; commas within one are conditions that all hold.
func (u *usageFlags) add(cmd *cobra.Command, filters string) {
	cmd.Flags().StringArrayVarP(&u.filter, "filter", "f", nil, filters)
	cmd.Flags().BoolVarP(&u.verbose, "verbose", "v", false, "print all that is known of each")
	u.format = formatFlag(cmd)
}

// newDiskUsage lists what the cache holds.
func newDiskUsage(g *globals) *cobra.Command {
	var u usageFlags
	cmd := &cobra.Command{
		Use: "du", Short: "show what the build cache holds and how large it is", Args: cobra.NoArgs,
		Long: "Shows what the build cache holds and how large it is. A * after the id means that the record can still change, as cache mounts do;\n" +
			"one after the size that an image shares it. What is reclaimable may be removed by prune.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.withClient(cmd, func(ctx context.Context, c *client.Client) error { return diskUsage(ctx, c, g.Out, u) })
		},
	}
	u.add(cmd, recordFilters)
	return cmd
}

// diskUsage prints all records, smallest first, and the sums unless a filter
// made them meaningless.
func diskUsage(ctx context.Context, c *client.Client, w io.Writer, u usageFlags) error {
	resp, err := c.Control.DiskUsage(ctx, &control.DiskUsageRequest{Filter: u.filter})
	if err != nil {
		return fmt.Errorf("failed to call diskusage: %w", err)
	}
	var all []*usage
	for _, r := range resp.GetRecord() {
		all = append(all, toUsage(r))
	}
	// The largest at the end, where a terminal shows it.
	slices.SortFunc(all, func(a, b *usage) int { return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.ID, b.ID)) })
	if *u.format != "" {
		t, err := parseFormat(*u.format)
		if err != nil {
			return err
		}
		return printFormat(w, t, all)
	}
	tw := table(w)
	if u.verbose {
		for _, one := range all {
			printUsage(tw, one)
		}
	} else {
		usageHeader(tw)
		for _, one := range all {
			usageRow(tw, one)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(u.filter) == 0 {
		summary(tw, all)
	}
	return tw.Flush()
}

// usageHeader names the columns. The last one has always been empty; scripts
// count columns.
func usageHeader(w io.Writer) { fmt.Fprintln(w, "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED") }

// usageRow prints one record. A star after the id means that it can still
// change, one after the size that others share it.
func usageRow(w io.Writer, u *usage) {
	id, size := u.ID, display.Bytes(u.Size)
	if u.Mutable {
		id += "*"
	}
	if u.Shared {
		size += "*"
	}
	fmt.Fprintf(w, "%-71s\t%-11v\t%s\t\n", id, !u.InUse, size)
}

// printUsage prints all that is known of a record.
func printUsage(w io.Writer, u *usage) {
	field := func(name string, value any) { fmt.Fprintf(w, "%s:\t%v\n", name, value) }
	field("ID", u.ID)
	if len(u.Parents) > 0 {
		field("Parents", strings.Join(u.Parents, ";"))
	}
	field("Created at", u.CreatedAt)
	field("Mutable", u.Mutable)
	field("Reclaimable", !u.InUse)
	field("Shared", u.Shared)
	field("Size", display.Bytes(u.Size))
	if u.Description != "" {
		field("Description", u.Description)
	}
	field("Usage count", u.UsageCount)
	if u.LastUsedAt != nil {
		field("Last used", u.LastUsedAt)
	}
	if u.RecordType != "" {
		field("Type", u.RecordType)
	}
	fmt.Fprintln(w)
}

// summary prints sums. Shared records are counted once, with those who share
// them.
func summary(w io.Writer, all []*usage) {
	var total, reclaimable, shared int64
	for _, u := range all {
		total += max(0, u.Size)
		if !u.InUse {
			reclaimable += max(0, u.Size)
		}
		if u.Shared {
			shared += u.Size
		}
	}
	if shared > 0 {
		fmt.Fprintf(w, "Shared:\t%s\nPrivate:\t%s\n", display.Bytes(shared), display.Bytes(total-shared))
	}
	fmt.Fprintf(w, "Reclaimable:\t%s\nTotal:\t%s\n", display.Bytes(reclaimable), display.Bytes(total))
}

// pruneFlags are the flags of prune; sizes are in MB.
type pruneFlags struct {
	usageFlags
	duration         time.Duration
	maximum, minimum float64
	free             float64
	all              bool
}

// newPrune removes what the cache can do without.
func newPrune(g *globals) *cobra.Command {
	var p pruneFlags
	cmd := &cobra.Command{
		Use: "prune", Short: "remove build cache that is not in use", Args: cobra.NoArgs,
		Long: "Removes build cache that is not in use: all of it, or with limits what was used least recently until they hold.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.withClient(cmd, func(ctx context.Context, c *client.Client) error { return prune(ctx, c, g.Out, p) })
		},
	}
	p.add(cmd, recordFilters)
	f := cmd.Flags()
	f.DurationVar(&p.duration, "keep-duration", 0, "keep what was used within this time, e.g. 24h")
	f.Float64Var(&p.maximum, "keep-storage", 0, "remove until the cache has at most this many MB")
	f.Float64Var(&p.minimum, "keep-storage-min", 0, "never remove below this many MB")
	f.Float64Var(&p.free, "free-storage", 0, "remove until the disk has this many MB free")
	f.BoolVar(&p.all, "all", false, "also remove records of frontends and of the daemon itself, and those shared with images")
	return cmd
}

// prune prints records while they are removed: that may take long.
func prune(ctx context.Context, c *client.Client, w io.Writer, p pruneFlags) error {
	var t *template.Template
	if *p.format != "" {
		var err error
		if t, err = parseFormat(*p.format); err != nil {
			return err
		}
	}
	const mb = 1e6
	stream, err := c.Control.Prune(ctx, &control.PruneRequest{
		Filter: p.filter, All: p.all, KeepDuration: int64(p.duration), MaxUsedSpace: int64(p.maximum * mb),
		ReservedSpace: int64(p.minimum * mb), MinFreeSpace: int64(p.free * mb),
	})
	if err != nil {
		return fmt.Errorf("failed to call prune: %w", rpcerr.FromGRPC(err))
	}
	out := &pruned{w: w, tw: table(w), template: t, verbose: p.verbose}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return rpcerr.FromGRPC(err)
		}
		if err := out.add(toUsage(r)); err != nil {
			return err
		}
	}
	if t != nil {
		return nil
	}
	tw := table(w)
	fmt.Fprintf(tw, "Total:\t%s\n", display.Bytes(out.total))
	return tw.Flush()
}

// pruned prints records as they go.
type pruned struct {
	w        io.Writer
	tw       *tabwriter.Writer
	template *template.Template
	verbose  bool
	any      bool
	total    int64
}

// add prints one record. Rows are lined up one by one, for nobody knows how
// many there will be.
func (p *pruned) add(u *usage) error {
	p.total += u.Size
	switch {
	case p.template != nil:
		// The template is for one record, not for a list as with du.
		return printFormat(p.w, p.template, u)
	case p.verbose:
		printUsage(p.tw, u)
	default:
		if !p.any {
			usageHeader(p.tw)
		}
		usageRow(p.tw, u)
	}
	p.any = true
	return p.tw.Flush()
}
