package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/pb/worker"
)

// The types below are what templates see; the JSON names are known to
// scripts.

// workerInfo is a worker: who runs steps, and for which platforms.
type workerInfo struct {
	ID              string              `json:"id"`
	Labels          map[string]string   `json:"labels"`
	Platforms       []ocispecs.Platform `json:"platforms"`
	GCPolicy        []gcRule            `json:"gcPolicy"`
	BuildkitVersion versionInfo         `json:"buildkitVersion"`
	CDIDevices      []device            `json:"cdiDevices"`
}

// gcRule is one rule of the collector; sizes are bytes, 0 is no limit.
type gcRule struct {
	All           bool          `json:"all"`
	Filter        []string      `json:"filter"`
	KeepDuration  time.Duration `json:"keepDuration"`
	ReservedSpace int64         `json:"reservedSpace"`
	MaxUsedSpace  int64         `json:"maxUsedSpace"`
	MinFreeSpace  int64         `json:"minFreeSpace"`
}

// versionInfo is what a daemon says of itself.
type versionInfo struct {
	Package           string `json:"package"`
	Version           string `json:"version"`
	Revision          string `json:"revision"`
	DockerfileVersion string `json:"dockerfileVersion,omitempty"`
}

// device is a device that steps may ask for.
type device struct {
	Name        string            `json:"name"`
	AutoAllow   bool              `json:"autoAllow"`
	Annotations map[string]string `json:"annotations"`
	OnDemand    bool              `json:"onDemand"`
}

// toVersion converts from the wire type; a daemon that says nothing gives
// empty fields.
func toVersion(v *worker.BuildkitVersion) versionInfo {
	return versionInfo{v.GetPackage(), v.GetVersion(), v.GetRevision(), v.GetDockerfileVersion()}
}

// toWorker converts from the wire type. An empty policy is an empty list in
// JSON, as scripts know it.
func toWorker(w *worker.WorkerRecord) *workerInfo {
	out := &workerInfo{ID: w.GetID(), Labels: w.GetLabels(), BuildkitVersion: toVersion(w.GetBuildkitVersion()), GCPolicy: []gcRule{}}
	for _, p := range w.GetPlatforms() {
		out.Platforms = append(out.Platforms, ocispecs.Platform{
			OS: p.GetOS(), Architecture: p.GetArchitecture(), Variant: p.GetVariant(), OSVersion: p.GetOSVersion(), OSFeatures: p.GetOSFeatures(),
		})
	}
	for _, p := range w.GetGCPolicy() {
		out.GCPolicy = append(out.GCPolicy, gcRule{p.GetAll(), p.GetFilters(), time.Duration(p.GetKeepDuration()),
			p.GetReservedSpace(), p.GetMaxUsedSpace(), p.GetMinFreeSpace()})
	}
	for _, d := range w.GetCDIDevices() {
		out.CDIDevices = append(out.CDIDevices, device{d.GetName(), d.GetAutoAllow(), d.GetAnnotations(), d.GetOnDemand()})
	}
	return out
}

// newWorkers lists the workers; others use it to see whether a daemon is there.
func newWorkers(g *globals) *cobra.Command {
	var u usageFlags
	cmd := &cobra.Command{
		Use: "workers", Short: "list workers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.withClient(cmd, func(ctx context.Context, c *client.Client) error { return workers(ctx, c, g.Out, u) })
		},
	}
	u.add(cmd, "only workers with this, e.g. id~=^abc or labels.key==value; a comma is and, several flags are or")
	return cmd
}

// workers prints a table, everything, or what a template makes of it.
func workers(ctx context.Context, c *client.Client, w io.Writer, u usageFlags) error {
	resp, err := c.Control.ListWorkers(ctx, &control.ListWorkersRequest{Filter: u.filter})
	if err != nil {
		return fmt.Errorf("failed to list workers: %w", err)
	}
	var all []*workerInfo
	for _, r := range resp.GetRecord() {
		all = append(all, toWorker(r))
	}
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
			printWorker(tw, one)
		}
		return tw.Flush()
	}
	fmt.Fprintln(tw, "ID\tPLATFORMS")
	for _, one := range all {
		fmt.Fprintf(tw, "%s\t%s\n", one.ID, platformList(one.Platforms))
	}
	return tw.Flush()
}

// platformList formats platforms, the native one first.
func platformList(list []ocispecs.Platform) string {
	var out []string
	for _, p := range list {
		out = append(out, platforms.Format(platforms.Normalize(p)))
	}
	return strings.Join(out, ",")
}

// printWorker prints all that is known of a worker.
func printWorker(w io.Writer, one *workerInfo) {
	v := one.BuildkitVersion
	fmt.Fprintf(w, "ID:\t%s\nPlatforms:\t%s\nBuildKit:\t%s %s %s\n", one.ID, platformList(one.Platforms), v.Package, v.Version, v.Revision)
	if v.DockerfileVersion != "" {
		fmt.Fprintf(w, "Dockerfile:\t%s\n", v.DockerfileVersion)
	}
	fmt.Fprintln(w, "Labels:")
	for _, k := range slices.Sorted(maps.Keys(one.Labels)) {
		fmt.Fprintf(w, "\t%s:\t%s\n", k, one.Labels[k])
	}
	if len(one.CDIDevices) > 0 {
		fmt.Fprintln(w, "Devices:")
		for _, d := range one.CDIDevices {
			printDevice(w, d)
		}
		fmt.Fprintln(w)
	}
	for i, r := range one.GCPolicy {
		printRule(w, i, r)
	}
	fmt.Fprintln(w)
}

// printDevice prints a device. One that is installed on demand has no other
// state.
func printDevice(w io.Writer, d device) {
	fmt.Fprintf(w, "\tName:\t%s\n", d.Name)
	if d.OnDemand {
		fmt.Fprintf(w, "\tOnDemand:\t%v\n", d.OnDemand)
	} else {
		fmt.Fprintf(w, "\tAutoAllow:\t%v\n", d.AutoAllow)
	}
	for _, k := range slices.Sorted(maps.Keys(d.Annotations)) {
		fmt.Fprintf(w, "\tAnnotations:\t%s:\t%s\n", k, d.Annotations[k])
	}
}

// printRule prints the limits that a rule has.
func printRule(w io.Writer, i int, r gcRule) {
	fmt.Fprintf(w, "GC Policy rule#%d:\n\tAll:\t%v\n", i, r.All)
	if len(r.Filter) > 0 {
		fmt.Fprintf(w, "\tFilters:\t%s\n", strings.Join(r.Filter, " "))
	}
	if r.KeepDuration > 0 {
		fmt.Fprintf(w, "\tKeep duration:\t%v\n", r.KeepDuration)
	}
	for _, limit := range []struct {
		name string
		n    int64
	}{{"Reserved space", r.ReservedSpace}, {"Minimum free space", r.MinFreeSpace}, {"Maximum used space", r.MaxUsedSpace}} {
		if limit.n > 0 {
			fmt.Fprintf(w, "\t%s:\t%s\n", limit.name, exactBytes(limit.n))
		}
	}
}

// exactBytes formats a size without rounding, as configured limits are.
func exactBytes(n int64) string {
	f, unit := float64(n), 0
	for f >= 1000 && unit < 6 {
		f /= 1000
		unit++
	}
	suffix := ""
	if unit > 0 {
		suffix = "kMGTPE"[unit-1 : unit]
	}
	return strconv.FormatFloat(f, 'g', 10, 64) + suffix + "B"
}

// newInfo tells the version of the daemon.
func newInfo(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "info", Short: "show the version of the daemon", Args: cobra.NoArgs}
	format := formatFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.withClient(cmd, func(ctx context.Context, c *client.Client) error { return info(ctx, c, g.Out, *format) })
	}
	return cmd
}

// info prints what the daemon says of itself.
func info(ctx context.Context, c *client.Client, w io.Writer, format string) error {
	resp, err := c.Control.Info(ctx, &control.InfoRequest{})
	if err != nil {
		return fmt.Errorf("failed to call info: %w", err)
	}
	v := toVersion(resp.GetBuildkitVersion())
	if format != "" {
		t, err := parseFormat(format)
		if err != nil {
			return err
		}
		return printFormat(w, t, struct {
			BuildkitVersion versionInfo `json:"buildkitVersion"`
		}{v})
	}
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintf(tw, "BuildKit:\t%s %s %s\n", v.Package, v.Version, v.Revision)
	if v.DockerfileVersion != "" {
		fmt.Fprintf(tw, "Dockerfile:\t%s\n", v.DockerfileVersion)
	}
	return tw.Flush()
}
