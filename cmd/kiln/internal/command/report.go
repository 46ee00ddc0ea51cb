package command

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// Report prints an error: the places in the sources it comes from, what a
// policy has against it, and its text.
func Report(w io.Writer, err error) {
	for _, s := range sources(err) {
		excerpt(w, s)
	}
	var deny *rpcerr.DenyError
	if errors.As(err, &deny) {
		for _, m := range deny.Messages {
			fmt.Fprintf(w, "policy deny: %s\n", m)
		}
	}
	fmt.Fprintf(w, "error: %v\n", err)
}

// sources returns the places an error names, innermost first.
func sources(err error) []*solver.SourceError {
	var s *solver.SourceError
	if !errors.As(err, &s) {
		return nil
	}
	return append(sources(s.Err), s)
}

// excerpt prints the lines that an error comes from, marked, and some around
// them.
func excerpt(w io.Writer, s *solver.SourceError) {
	if s.Info == nil || len(s.Ranges) == 0 {
		return
	}
	lines := strings.Split(string(s.Info.Data), "\n")
	first, last := s.Ranges[0].Start.Line, 0
	for _, r := range s.Ranges {
		first = min(first, r.Start.Line)
		last = max(last, r.Start.Line, r.End.Line)
	}
	if first < 1 || first > len(lines) {
		return
	}
	last = min(last, len(lines))
	// One line alone gets more company than several.
	around := 1
	if first == last {
		around = 2
	}
	fmt.Fprintf(w, "%s:%d\n--------------------\n", s.Info.Filename, first)
	for n := max(1, first-around); n <= min(len(lines), last+around); n++ {
		mark := "   "
		for _, r := range s.Ranges {
			if n >= r.Start.Line && n <= max(r.Start.Line, r.End.Line) {
				mark = ">>>"
			}
		}
		fmt.Fprintf(w, " %3d | %s %s\n", n, mark, lines[n-1])
	}
	fmt.Fprintln(w, "--------------------")
}
