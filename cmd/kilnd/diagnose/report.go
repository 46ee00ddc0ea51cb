package diagnose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"golang.org/x/sys/unix"
)

// maxPart bounds one file of a report; what is more is cut off.
const maxPart = 4 << 20

// part is one file of a report.
type part struct {
	name string
	make func(ctx context.Context, w io.Writer) error
}

// parts are the files of a report, in their order.
func (d *Diagnoser) parts() []part {
	return []part{
		{"daemon.json", d.writeDaemon},
		{"settings.json", func(_ context.Context, w io.Writer) error {
			data, err := redact(d.config.Settings)
			if err == nil {
				_, err = w.Write(append(data, '\n'))
			}
			return err
		}},
		{"environment.txt", func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, redactEnv(d.config.Environ()))
			return err
		}},
		{"cache.json", d.writeCache},
		{"metrics.txt", d.writeMetrics},
		{"goroutines.txt", func(_ context.Context, w io.Writer) error { return pprof.Lookup("goroutine").WriteTo(w, 2) }},
		{"host.txt", d.writeHost},
	}
}

// writeDaemon writes what the process is.
func (d *Diagnoser) writeDaemon(_ context.Context, w io.Writer) error {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return writeJSON(w, map[string]any{
		"version": d.config.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		"pid": os.Getpid(), "uid": os.Getuid(), "started": d.started.UTC(), "uptime": d.config.Now().Sub(d.started).Round(time.Second).String(),
		"cpus": runtime.NumCPU(), "gomaxprocs": runtime.GOMAXPROCS(0), "goroutines": runtime.NumGoroutine(),
		"heapBytes": mem.HeapAlloc, "systemBytes": mem.Sys, "collections": mem.NumGC,
	})
}

// writeCache writes the counts of the build cache.
func (d *Diagnoser) writeCache(ctx context.Context, w io.Writer) error {
	c := d.inspector()
	if c == nil {
		return writeJSON(w, nil)
	}
	stats, err := c.Stats(ctx)
	if err != nil {
		return err
	}
	return writeJSON(w, stats)
}

// writeMetrics writes the metrics as Prometheus reads them.
func (d *Diagnoser) writeMetrics(_ context.Context, w io.Writer) error {
	families, err := d.config.Metrics.Gather()
	for _, f := range families {
		if _, werr := expfmt.MetricFamilyToText(w, f); werr != nil {
			return werr
		}
	}
	return err
}

// hostFiles tell what the daemon runs on. Not all of them are everywhere.
var hostFiles = []string{
	"/etc/os-release", "/proc/version", "/proc/loadavg", "/proc/meminfo", "/proc/pressure/cpu", "/proc/pressure/io", "/proc/pressure/memory",
	"/proc/self/status", "/proc/self/limits", "/proc/self/cgroup", "/proc/self/uid_map", "/proc/self/mountinfo",
}

// writeHost writes what the daemon runs on.
func (d *Diagnoser) writeHost(_ context.Context, w io.Writer) error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.config.Root, &st); err == nil {
		fmt.Fprintf(w, "== disk of %s\ntype %#x, %d bytes, %d free, %d of %d inodes free\n",
			d.config.Root, st.Type, int64(st.Blocks)*st.Bsize, int64(st.Bavail)*st.Bsize, st.Ffree, st.Files)
	}
	for _, path := range hostFiles {
		text, err := readBounded(path, maxPart/4)
		if err != nil {
			text = []byte(err.Error() + "\n")
		}
		fmt.Fprintf(w, "\n== %s\n%s", path, redactText(string(text)))
	}
	return nil
}

// readBounded reads the beginning of a file.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// bounded keeps the first bytes of what is written to it.
type bounded struct {
	bytes.Buffer
	cut bool
}

// Write takes everything and keeps what there is room for.
func (b *bounded) Write(p []byte) (int, error) {
	keep := min(len(p), maxPart-b.Len())
	b.cut = b.cut || keep < len(p)
	b.Buffer.Write(p[:keep])
	return len(p), nil
}

// render makes a part. A failure is part of the report: the rest may tell why.
func (p part) render(ctx context.Context) []byte {
	var b bounded
	err := p.make(ctx, &b)
	text := b.Bytes()
	if b.cut {
		text = append(text, "\n(cut off here)\n"...)
	}
	if err != nil {
		text = fmt.Appendf(text, "error: %s\n", strings.TrimSpace(redactText(err.Error())))
	}
	return text
}
