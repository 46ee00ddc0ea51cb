package buildxdriver

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// record is what a room tells of the process that was started for its node.
type record struct {
	// PID, Started and Boot name a process for all time: its id, its start in
	// clock ticks since the boot, and the kernel's id of that boot.
	PID     int    `json:"pid"`
	Started uint64 `json:"started"`
	Boot    string `json:"boot"`
	// Socket is where it serves.
	Socket string `json:"socket"`
	// MadeRoot and MadeState are the directories that did not exist before
	// the driver made them for this node; empty if they did.
	MadeRoot  string `json:"madeRoot,omitempty"`
	MadeState string `json:"madeState,omitempty"`
}

// recordName is the file in a room.
const recordName = "record.json"

// readRecord returns the record of a room. The error matches fs.ErrNotExist if
// nothing was started for it.
func readRecord(room string) (*record, error) {
	text, err := os.ReadFile(filepath.Join(room, recordName))
	if err != nil {
		return nil, fmt.Errorf("read record of the process: %w", err)
	}
	rec := &record{}
	if err := json.Unmarshal(text, rec); err != nil {
		return nil, fmt.Errorf("read record of the process in %s: %w", room, err)
	}
	return rec, nil
}

// write replaces the record of a room.
func (r *record) write(room string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write record of the process: %w", err)
	}
	path := filepath.Join(room, recordName)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("write record of the process: %w", err)
	}
	return os.Rename(path+".new", path)
}

// identify fills in who the process with the given id is.
func (r *record) identify(pid int) (err error) {
	r.PID = pid
	if r.Started, err = startOf(pid); err != nil {
		return err
	}
	r.Boot, err = bootID()
	return err
}

// bootID is the kernel's id of this boot.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// startOf returns when a process began, in clock ticks since the boot.
func startOf(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses, which may hold
	// anything; the start is the 22nd, the 20th behind the name.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start of process %d: only %d fields", pid, len(fields))
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// open returns a handle of the process, or false if it has ended. The handle
// never means another process.
func (r *record) open() (fd int, ok bool, err error) {
	if boot, err := bootID(); err != nil || boot != r.Boot || r.PID <= 0 {
		return -1, false, err
	}
	fd, err = unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, false, nil
	}
	if err != nil {
		return -1, false, fmt.Errorf("open process %d: %w", r.PID, err)
	}
	// From here on the id cannot be given to another process unseen.
	if started, err := startOf(r.PID); err != nil || started != r.Started || ended(fd, 0) {
		_ = unix.Close(fd)
		return -1, false, nil
	}
	return fd, true, nil
}

// alive reports whether the process runs.
func (r *record) alive() bool {
	fd, ok, err := r.open()
	if ok {
		_ = unix.Close(fd)
	}
	return ok && err == nil
}

// end asks the process to end and waits; one that does not in time is killed.
func (r *record) end(within time.Duration) error {
	fd, ok, err := r.open()
	if !ok {
		return err
	}
	defer unix.Close(fd)
	for _, step := range []struct {
		signal unix.Signal
		within time.Duration
	}{{unix.SIGTERM, within}, {unix.SIGKILL, 10 * time.Second}} {
		err := unix.PidfdSendSignal(fd, step.signal, nil, 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end kilnd, process %d: %w", r.PID, err)
		}
		if ended(fd, step.within) {
			return nil
		}
	}
	return fmt.Errorf("end kilnd: process %d does not end, not even when killed", r.PID)
}

// ended waits for the end of a process.
func ended(fd int, within time.Duration) bool {
	for deadline := time.Now().Add(within); ; {
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 1
		}
	}
}
