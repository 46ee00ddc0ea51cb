package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"
)

// TestJournalLines: every line has the priority of its message, and only what
// goes to the journal is written so.
func TestJournalLines(t *testing.T) {
	format := prioritized{&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true}}
	for level, want := range map[logrus.Level]string{
		logrus.ErrorLevel: "<3>level=error msg=\"a\\nb\" op=c\n", logrus.WarnLevel: "<4>level=warning msg=\"a\\nb\" op=c\n",
		logrus.InfoLevel: "<6>level=info msg=\"a\\nb\" op=c\n", logrus.TraceLevel: "<7>level=trace msg=\"a\\nb\" op=c\n",
		logrus.FatalLevel: "<2>level=fatal msg=\"a\\nb\" op=c\n",
	} {
		e := &logrus.Entry{Logger: logrus.New(), Level: level, Message: "a\nb", Data: logrus.Fields{"op": "c"}}
		if text, err := format.Format(e); err != nil || string(text) != want {
			t.Errorf("%q, %v, want %q", text, err, want)
		}
	}

	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no inode")
	}
	for stream, want := range map[string]bool{"": false, "1:1": false, fmt.Sprintf("%d:%d", sys.Dev, sys.Ino): true} {
		if got := toJournal(func(string) string { return stream }, f); got != want {
			t.Errorf("JOURNAL_STREAM=%s: %v", stream, got)
		}
	}
}
