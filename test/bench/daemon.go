package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Daemon is one of the builders compared.
type Daemon struct {
	// Name heads its column; it must be unique within a run.
	Name string `json:"name"`
	// Address is what the client's --addr takes.
	Address string `json:"address"`
	// PID is the process whose memory is read; 0 if it is not known.
	PID int `json:"pid,omitempty"`
}

// ParseDaemon reads NAME=ADDRESS[,pid=N].
func ParseDaemon(text string) (Daemon, error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok || name == "" || rest == "" {
		return Daemon{}, fmt.Errorf("read daemon %q: want NAME=ADDRESS[,pid=N]", text)
	}
	address, option, found := strings.Cut(rest, ",")
	d := Daemon{Name: name, Address: address}
	if !found {
		return d, nil
	}
	number, ok := strings.CutPrefix(option, "pid=")
	pid, err := strconv.Atoi(number)
	if !ok || err != nil || pid <= 0 {
		return Daemon{}, fmt.Errorf("read daemon %q: %q is not pid=N", text, option)
	}
	d.PID = pid
	return d, nil
}

// Memory is what the kernel says of a process, in bytes.
type Memory struct {
	// Resident is the memory the process holds now.
	Resident int64 `json:"resident"`
	// Peak is the most it ever held.
	Peak int64 `json:"peak"`
}

// Memory reads the daemon's memory; ok is false if its process is not known.
func (d Daemon) Memory() (m Memory, ok bool, err error) {
	if d.PID == 0 {
		return m, false, nil
	}
	path := fmt.Sprintf("/proc/%d/status", d.PID)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, fmt.Errorf("read memory of %s: process %d is gone", d.Name, d.PID)
	}
	if err != nil {
		return m, false, fmt.Errorf("read memory of %s: %w", d.Name, err)
	}
	m, err = parseStatus(text)
	if err != nil {
		return m, false, fmt.Errorf("read memory of %s from %s: %w", d.Name, path, err)
	}
	return m, true, nil
}

// parseStatus reads the two lines of interest; the kernel's unit is KiB.
func parseStatus(text []byte) (m Memory, err error) {
	found := 0
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		field := strings.Fields(lines.Text())
		if len(field) != 3 || field[0] != "VmRSS:" && field[0] != "VmHWM:" {
			continue
		}
		kib, err := strconv.ParseInt(field[1], 10, 64)
		if err != nil {
			return m, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		found++
		if field[0] == "VmRSS:" {
			m.Resident = kib << 10
		} else {
			m.Peak = kib << 10
		}
	}
	if found != 2 {
		return m, errors.New("no VmRSS and VmHWM lines")
	}
	return m, nil
}

// complaints bounds how much of a failed client's output is quoted.
const complaints = 4 << 10

// Client is the program that asks the daemons, buildctl or kiln.
type Client struct {
	// Path is the program.
	Path string
}

// Build runs one Dockerfile build of the folder on the daemon and returns how
// long the client ran. options are appended to the command line.
func (c Client) Build(ctx context.Context, d Daemon, dir string, options ...string) (time.Duration, error) {
	args := append([]string{"--addr", d.Address, "build", "--progress=plain", "--frontend=dockerfile.v0",
		"--local=context=" + dir, "--local=dockerfile=" + dir}, options...)
	cmd := exec.CommandContext(ctx, c.Path, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	if err != nil {
		text := output.Bytes()
		return 0, fmt.Errorf("build %s on %s: %w: %s", dir, d.Name, err, text[max(0, len(text)-complaints):])
	}
	return took, nil
}
