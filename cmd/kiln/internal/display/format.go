package display

import (
	"fmt"
	"io"
	"time"

	"github.com/kilnbuild/kiln/solver"
)

// Bytes formats a size in decimal units as people know it: 120B, 1.23kB.
func Bytes(n int64) string {
	sign, v := "", n
	if v < 0 {
		sign, v = "-", -v
	}
	if v < 1000 {
		return fmt.Sprintf("%s%dB", sign, v)
	}
	f, unit := float64(v), 0
	for f >= 1000 && unit < 6 {
		f /= 1000
		unit++
	}
	return fmt.Sprintf("%s%.2f%cB", sign, f, "BkMGTPE"[unit])
}

// amount says how far a counted activity is; empty if it does not count.
func amount(st *solver.StatusEvent) string {
	switch {
	case st.Total != 0:
		return Bytes(st.Current) + " / " + Bytes(st.Total)
	case st.Current != 0:
		return Bytes(st.Current)
	}
	return ""
}

// stamp formats the time of a line in at least five characters, so that lines
// of one step line up for a while.
func stamp(d time.Duration) string {
	sec := d.Seconds()
	switch {
	case sec < 10:
		return fmt.Sprintf("%.3f", sec)
	case sec < 100:
		return fmt.Sprintf("%.2f", sec)
	}
	return fmt.Sprintf("%.1f", sec)
}

// failedLogs repeats the last lines of each step that failed, passed through
// clean.
func failedLogs(w io.Writer, m *model, lines int, clean func(string) string) {
	for _, s := range m.steps {
		if !s.failed() {
			continue
		}
		fmt.Fprintf(w, "------\n > %s:\n", s.name)
		for _, l := range s.tail.last(lines) {
			fmt.Fprintf(w, "%s %s\n", stamp(l.at), clean(l.text))
		}
		fmt.Fprintln(w, "------")
	}
}
