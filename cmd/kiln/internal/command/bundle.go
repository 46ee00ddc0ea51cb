package command

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
	"github.com/kilnbuild/kiln/solver/pb/control"
)

// Bounds of a bundle.
const (
	// bundlePart is the most that one file of it has, in bytes, and
	// bundleRecords the most entries that a list has.
	bundlePart    = 8 << 20
	bundleRecords = 2000
	// bundleFiles is the most files that a daemon may send.
	bundleFiles = 64
	// bundleWait is how long one answer may take.
	bundleWait = 20 * time.Second
)

// newBundle collects what a bug report needs.
func newBundle(g *globals) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use: "bundle", Short: "collect what a bug report needs into one tar.gz", Args: cobra.NoArgs,
		Long: "Collects versions, the daemon's settings and state, metrics, workers, disk usage and the last builds into one tar.gz.\n" +
			"Secrets of the settings, values of build arguments and commands of steps are left out; look through it before you send it all the same.",
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, - for the standard output (default kiln-bundle-DATE.tar.gz)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.withClient(cmd, func(ctx context.Context, c *client.Client) error {
			now := time.Now()
			b := &bundle{client: c, now: now, top: "kiln-bundle-" + now.UTC().Format("20060102-150405")}
			if output == "-" {
				return b.write(ctx, g.Out, g.dial.Addr, cmd.Root().Name())
			}
			if output == "" {
				output = b.top + ".tar.gz"
			}
			if err := b.writeFile(ctx, output, g.dial.Addr, cmd.Root().Name()); err != nil {
				return err
			}
			_, err := fmt.Fprintln(g.Out, output)
			return err
		})
	}
	return cmd
}

// bundle is a bug report in the making.
type bundle struct {
	client *client.Client
	now    time.Time
	// top is the folder that all files are in.
	top string
	tw  *tar.Writer
	// failed says what could not be found out.
	failed []string
}

// writeFile makes the file whole or not at all. It is for its owner alone.
func (b *bundle) writeFile(ctx context.Context, name, addr, program string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".kiln-bundle-*")
	if err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(b.write(ctx, f, addr, program), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// write makes the bundle. What a daemon does not answer is noted in it.
func (b *bundle) write(ctx context.Context, w io.Writer, addr, program string) error {
	zip := gzip.NewWriter(w)
	b.tw = tar.NewWriter(zip)
	err := b.add("client.json", map[string]any{
		"program": program, "address": redactURL(addr), "platform": runtime.GOOS + "/" + runtime.GOARCH, "go": runtime.Version(), "at": b.now.UTC(),
	})
	for _, part := range []struct {
		name string
		ask  func(ctx context.Context) (any, error)
	}{{"info.json", b.info}, {"workers.json", b.workers}, {"du.json", b.usage}, {"builds.json", b.builds}} {
		answer, askErr := b.ask(ctx, part.name, part.ask)
		if askErr == nil {
			err = errors.Join(err, b.add(part.name, answer))
		}
	}
	err = errors.Join(err, b.daemon(ctx))
	if len(b.failed) > 0 {
		err = errors.Join(err, b.addText("errors.txt", []byte(strings.Join(b.failed, "\n")+"\n")))
	}
	return errors.Join(err, context.Cause(ctx), b.tw.Close(), zip.Close())
}

// ask bounds a question in time and notes that it failed.
func (b *bundle) ask(ctx context.Context, name string, fn func(ctx context.Context) (any, error)) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, bundleWait)
	defer cancel()
	answer, err := fn(ctx)
	if err != nil {
		b.failed = append(b.failed, name+": "+redactURL(err.Error()))
	}
	return answer, err
}

func (b *bundle) info(ctx context.Context) (any, error) {
	resp, err := b.client.Control.Info(ctx, &control.InfoRequest{})
	return toVersion(resp.GetBuildkitVersion()), err
}

func (b *bundle) workers(ctx context.Context) (any, error) {
	resp, err := b.client.Control.ListWorkers(ctx, &control.ListWorkersRequest{})
	var all []*workerInfo
	for _, r := range resp.GetRecord() {
		all = append(all, toWorker(r))
	}
	return all, err
}

// usage lists the largest records without what they are: descriptions have the
// commands of steps.
func (b *bundle) usage(ctx context.Context) (any, error) {
	resp, err := b.client.Control.DiskUsage(ctx, &control.DiskUsageRequest{})
	list := resp.GetRecord()
	slices.SortFunc(list, func(x, y *control.UsageRecord) int { return int(min(max(y.GetSize()-x.GetSize(), -1), 1)) })
	var total int64
	records := []*usage{}
	for i, r := range list {
		total += r.GetSize()
		if i < bundleRecords {
			u := toUsage(r)
			u.Description = ""
			records = append(records, u)
		}
	}
	return map[string]any{"records": records, "count": len(list), "size": total}, err
}

// buildInfo is a build in a bundle: how it went, not what went into it.
type buildInfo struct {
	Ref       string     `json:"ref"`
	Frontend  string     `json:"frontend,omitempty"`
	Options   []string   `json:"options,omitempty"`
	Exporters []string   `json:"exporters,omitempty"`
	Created   *time.Time `json:"created,omitempty"`
	Completed *time.Time `json:"completed,omitempty"`
	Steps     int32      `json:"steps"`
	Cached    int32      `json:"cached"`
	Warnings  int32      `json:"warnings"`
	Code      int32      `json:"code,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// errFull ends a list.
var errFull = errors.New("the list is full")

// builds lists the last builds, and those that run.
func (b *bundle) builds(ctx context.Context) (any, error) {
	list := []buildInfo{}
	err := eachRecord(ctx, b.client, &control.BuildHistoryRequest{EarlyExit: true}, func(ev *control.BuildHistoryEvent) error {
		r := ev.GetRecord()
		if r == nil {
			return nil
		}
		if len(list) == bundleRecords {
			return errFull
		}
		one := buildInfo{
			Ref: r.GetRef(), Frontend: r.GetFrontend(), Options: slices.Sorted(maps.Keys(r.GetFrontendAttrs())),
			Steps: r.GetNumTotalSteps(), Cached: r.GetNumCachedSteps(), Warnings: r.GetNumWarnings(),
			Code: r.GetError().GetCode(), Error: redactURL(r.GetError().GetMessage()),
		}
		for _, e := range r.GetExporters() {
			one.Exporters = append(one.Exporters, e.GetType())
		}
		if t := r.GetCreatedAt(); t != nil {
			at := t.AsTime()
			one.Created = &at
		}
		if t := r.GetCompletedAt(); t != nil {
			at := t.AsTime()
			one.Completed = &at
		}
		list = append(list, one)
		return nil
	})
	if errors.Is(err, errFull) {
		err = nil
	}
	return list, err
}

// daemon adds what the daemon tells of itself, below daemon/.
func (b *bundle) daemon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bundleWait)
	defer cancel()
	var names []string
	files := map[string]*bytes.Buffer{}
	err := b.client.Collect(ctx, func(name string, data []byte) error {
		name = path.Base(path.Clean("/" + name))
		if files[name] == nil {
			if len(files) == bundleFiles {
				return fmt.Errorf("more than %d files", bundleFiles)
			}
			files[name] = &bytes.Buffer{}
			names = append(names, name)
		}
		data = data[:min(len(data), bundlePart-files[name].Len())]
		files[name].Write(data)
		return nil
	})
	if errdefs.IsNotImplemented(err) {
		err = errors.New("it is not kilnd, or an older one")
	}
	if err != nil {
		b.failed = append(b.failed, "what the daemon tells of itself: "+redactURL(err.Error()))
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, b.addText("daemon/"+name, files[name].Bytes()))
	}
	return errors.Join(errs...)
}

// add adds a value as JSON.
func (b *bundle) add(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return b.addText(name, append(data, '\n'))
}

// addText adds a file.
func (b *bundle) addText(name string, text []byte) error {
	err := b.tw.WriteHeader(&tar.Header{Name: b.top + "/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: b.now})
	if err == nil {
		_, err = b.tw.Write(text)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// urlUser matches who logs in, in a URL.
var urlUser = regexp.MustCompile(`://[^/@\s"]+@`)

// redactURL leaves out who logs in.
func redactURL(s string) string { return urlUser.ReplaceAllString(s, "://(redacted)@") }
