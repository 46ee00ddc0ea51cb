package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// supervisedBy is the variable by which a daemon knows its supervisor.
const supervisedBy = "KILN_SUPERVISED_BY"

// forwarded are the signals that a supervisor passes on.
var forwarded = []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}

// needsSupervisor reports whether processes that lose their parent would stay
// for ever when they end. The runtime and its steps leave such: the first
// process of a container has to take them, and neither the daemon, which waits
// for what it started and nothing else, nor rootlesskit does.
func needsSupervisor() bool {
	if by := os.Getenv(supervisedBy); by == strconv.Itoa(os.Getppid()) {
		return false
	}
	// Sockets and the manager's questions are for the process they were given to.
	if os.Getenv("LISTEN_FDS") != "" {
		return false
	}
	if os.Getpid() == 1 {
		return true
	}
	first, err := os.ReadFile("/proc/1/comm")
	return err == nil && strings.TrimSpace(string(first)) == "rootlesskit"
}

// supervise runs the daemon as a child, with the same arguments, passes signals
// on, and takes all other processes that end. It returns the child's exit code.
func supervise() (int, error) {
	// The kernel sends the death signal when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become the parent of orphans: %w", err)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	child, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Env:   append(os.Environ(), supervisedBy+"="+strconv.Itoa(os.Getpid())),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		// A terminal sends its signals to a group: the child gets those that are passed on, once.
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL},
	})
	if err != nil {
		return 0, fmt.Errorf("start the daemon: %w", err)
	}
	go func() {
		for s := range signals {
			_ = child.Signal(s) // It may have ended.
		}
	}()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait for the daemon: %w", err)
		case pid == child.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == child.Pid && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}
