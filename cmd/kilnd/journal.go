package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// toJournal says whether what is written to f goes to systemd's journal: the manager then names the stream in
// JOURNAL_STREAM, as device:inode. A program that was redirected since has the variable but another stream.
func toJournal(getenv func(string) string, f *os.File) bool {
	st, err := f.Stat()
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", sys.Dev, sys.Ino)
}

// useJournal gives every line its priority, as sd-daemon(3) says, so that "journalctl -p err" finds errors. The journal
// has its own times.
func useJournal(format string) {
	base := log.L.Logger.Formatter
	if format != string(log.JSONFormat) {
		base = &logrus.TextFormatter{DisableColors: true, DisableTimestamp: true}
	}
	log.L.Logger.SetFormatter(prioritized{base})
}

// prioritized puts a priority before each line of base.
type prioritized struct{ base logrus.Formatter }

// Format implements logrus.Formatter.
func (p prioritized) Format(e *logrus.Entry) ([]byte, error) {
	text, err := p.base.Format(e)
	if err != nil {
		return nil, err
	}
	prefix := fmt.Sprintf("<%d>", priority(e.Level))
	return []byte(prefix + strings.ReplaceAll(strings.TrimSuffix(string(text), "\n"), "\n", "\n"+prefix) + "\n"), nil
}

// priority is the one of syslog(3).
func priority(l logrus.Level) int {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel:
		return 2
	case logrus.ErrorLevel:
		return 3
	case logrus.WarnLevel:
		return 4
	case logrus.InfoLevel:
		return 6
	default:
		return 7
	}
}
