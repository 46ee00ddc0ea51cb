package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// Process is one process of the machine.
type Process struct {
	PID     int
	Command string
}

// String renders the process for a complaint.
func (p Process) String() string { return fmt.Sprintf("%d %s", p.PID, p.Command) }

// Footprint is what a daemon has of the machine at one moment.
type Footprint struct {
	// Mounts are mount points below its root, in its own mount namespace.
	Mounts []string
	// Processes are its children and whatever runs in a file system below its
	// root, the daemon itself excluded.
	Processes []Process
	// Leases and Ingests are those of its containerd, by id.
	Leases, Ingests []string
	// Goroutines and Files count what is open inside the process.
	Goroutines, Files int
}

// Footprint looks at the running daemon.
func (d *Daemon) Footprint(ctx context.Context) (Footprint, error) {
	var f Footprint
	var errs [5]error
	f.Mounts, errs[0] = mountsBelow(strconv.Itoa(d.PID()), d.Root)
	f.Processes, errs[1] = d.processes()
	f.Leases, f.Ingests, errs[2] = d.held(ctx)
	f.Goroutines, errs[3] = d.goroutines()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
	f.Files, errs[4] = len(files), err
	return f, errors.Join(errs[:]...)
}

// Over says what f has that base has not, line by line; empty if nothing.
func (f Footprint) Over(base Footprint) string {
	var b strings.Builder
	more := func(what string, now, before []string) {
		for _, x := range now {
			if !slices.Contains(before, x) {
				fmt.Fprintf(&b, "%s %s\n", what, x)
			}
		}
	}
	more("mount", f.Mounts, base.Mounts)
	for _, p := range f.Processes {
		if !slices.Contains(base.Processes, p) {
			fmt.Fprintf(&b, "process %s\n", p)
		}
	}
	more("lease", f.Leases, base.Leases)
	more("ingest", f.Ingests, base.Ingests)
	if f.Goroutines > base.Goroutines {
		fmt.Fprintf(&b, "%d goroutines, %d before\n", f.Goroutines, base.Goroutines)
	}
	if f.Files > base.Files {
		fmt.Fprintf(&b, "%d open files, %d before\n", f.Files, base.Files)
	}
	return b.String()
}

// mountsBelow lists mount points at or below dir as the process sees them.
func mountsBelow(pid, dir string) ([]string, error) {
	text, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		field := strings.Fields(line)
		// A root that is a mount of the test's own is not the daemon's doing.
		if len(field) > 4 && strings.HasPrefix(field[4], dir+"/") {
			found = append(found, field[4])
		}
	}
	return found, nil
}

// processes lists the daemon's children and what runs below its root.
func (d *Daemon) processes() ([]Process, error) {
	found, err := processesBelow(d.Root)
	if err != nil {
		return nil, err
	}
	var own []Process
	for _, p := range found {
		if p.PID != d.PID() {
			own = append(own, p)
		}
	}
	return own, nil
}

// processesBelow lists processes that are children of a kilnd on root, that
// were started with a path below root, or that have such a path mounted as
// their root.
func processesBelow(root string) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		command, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // It ended meanwhile.
		}
		text := string(bytes.ReplaceAll(command, []byte{0}, []byte{' '}))
		if len(command) > 0 && !ownTool(text) && (strings.Contains(text, root+"/") || insideOf(dir, root)) {
			found = append(found, Process{pid, strings.TrimSpace(text)})
		}
	}
	return found, nil
}

// ownTool tells clients that merely name a socket or a directory of the
// daemon, and the daemon itself, from what the daemon started.
func ownTool(command string) bool {
	program, _, _ := strings.Cut(command, " ")
	switch filepath.Base(program) {
	case "kilnd", "kiln", "buildctl", "buildx", "ctr", "docker":
		return true
	}
	return false
}

// insideOf says whether the process's root file system is made of layers
// below root: a container's.
func insideOf(proc, root string) bool {
	file, err := os.Open(filepath.Join(proc, "mountinfo"))
	if err != nil {
		return false
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		field := strings.Fields(lines.Text())
		if len(field) > 4 && field[4] == "/" {
			return strings.Contains(lines.Text(), root+"/")
		}
	}
	return false
}

// held asks the daemon's containerd.
func (d *Daemon) held(ctx context.Context) (leases, ingests []string, err error) {
	conn, err := grpc.NewClient("unix://"+d.Containerd, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, fmt.Errorf("reach the daemon's containerd: %w", err)
	}
	defer conn.Close()
	ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "buildkit")
	list, err := leasesapi.NewLeasesClient(conn).List(ctx, &leasesapi.ListRequest{})
	if err != nil {
		return nil, nil, fmt.Errorf("list leases: %w", err)
	}
	for _, l := range list.Leases {
		leases = append(leases, l.ID)
	}
	open, err := contentapi.NewContentClient(conn).ListStatuses(ctx, &contentapi.ListStatusesRequest{})
	if err != nil {
		return nil, nil, fmt.Errorf("list ingests: %w", err)
	}
	for _, s := range open.Statuses {
		ingests = append(ingests, s.Ref)
	}
	return leases, ingests, nil
}

// goroutines counts the goroutines of the process. Those of idle connections
// to registries are left out: they are kept on purpose and end by themselves.
func (d *Daemon) goroutines() (int, error) {
	text, err := d.get("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0, err
	}
	total := 0
	for group := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(group, "goroutine profile:") {
			_, group, _ = strings.Cut(group, "\n")
		}
		var n int
		if _, err := fmt.Sscanf(group, "%d @", &n); err == nil && !strings.Contains(group, "net/http.(*persistConn)") {
			total += n
		}
	}
	return total, nil
}

// Heap is the memory, in bytes, that is alive in the process after a
// collection.
func (d *Daemon) Heap() (int64, error) {
	text, err := d.get("/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return 0, err
	}
	const key = "# HeapAlloc = "
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, key); ok {
			return strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, fmt.Errorf("heap profile has no line %q", key)
}

// Stacks returns what every goroutine does, grouped, for a complaint.
func (d *Daemon) Stacks() string {
	text, err := d.get("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return err.Error()
	}
	return text
}

// get asks the debug server.
func (d *Daemon) get(path string) (string, error) {
	if d.debug == "" {
		return "", fs.ErrNotExist
	}
	// Without keep-alive the question itself would count as a leak.
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(d.debug + path)
	if err != nil {
		return "", fmt.Errorf("ask debug server: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return string(text), err
}
