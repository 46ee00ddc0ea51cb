package plugin

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// trimProgram drops the pages of the program itself from this process: most of
// them were touched once, by the start. They stay in the page cache, and those
// that are needed come back by a minor fault. Only read-only segments without
// a page of their own (relocations make such) are dropped, since what is
// private in them could not come back. A system that does not tell about its
// mappings keeps them.
func trimProgram() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for _, m := range cleanMappings(exe) {
		// Advice: if it is not taken, nothing is lost but memory.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// cleanMappings returns the read-only mappings of a file that hold nothing but
// the file's own pages.
func cleanMappings(file string) []mapping {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []mapping
	var current *mapping
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-") && !strings.HasSuffix(fields[0], ":"):
			current = nil
			if len(fields) == 6 && fields[5] == file && fields[1][1] == '-' {
				current = parseRange(fields[0])
			}
		case current != nil && len(fields) == 3 && fields[0] == "Anonymous:":
			if fields[1] == "0" {
				out = append(out, *current)
			}
			current = nil
		}
	}
	return out
}

// parseRange reads "start-end" in hexadecimal; nil if it is something else.
func parseRange(text string) *mapping {
	from, to, _ := strings.Cut(text, "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil || end <= start {
		return nil
	}
	return &mapping{uintptr(start), uintptr(end)}
}
