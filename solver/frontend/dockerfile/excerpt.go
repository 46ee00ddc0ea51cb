package dockerfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// excerpt shows lines of a file with some around them, the lines themselves
// marked:
//
//	Dockerfile:2
//	--------------------
//	   1 |     FROM alpine
//	   2 | >>> RUN false
//	--------------------
//
// It is empty when there are no ranges or they lie outside of the file.
func excerpt(name string, data []byte, ranges []syntax.Range) string {
	lines := strings.Split(string(data), "\n")
	first, last := syntax.Span(ranges)
	if first < 1 || first > len(lines) {
		return ""
	}
	last = min(last, len(lines))
	start, end := around(first, last, len(lines))
	var out strings.Builder
	fmt.Fprintf(&out, "%s:%d\n--------------------\n", name, first)
	for number := start; number <= end; number++ {
		mark := "   "
		if slices.ContainsFunc(ranges, func(r syntax.Range) bool {
			return r.Start.Line <= number && number <= max(r.Start.Line, r.End.Line)
		}) {
			mark = ">>>"
		}
		fmt.Fprintf(&out, " %3d | %s %s\n", number, mark, lines[number-1])
	}
	out.WriteString("--------------------\n")
	return out.String()
}

// around widens a stretch of lines: by about four lines in all for a single
// one, by two for more, evenly at both ends as far as the file goes.
func around(first, last, total int) (start, end int) {
	left := 2
	if first == last {
		left = 4
	}
	for start, end = first, last; left > 0; left-- {
		if start > 1 {
			start--
			left--
		}
		if end < total {
			end++
			left--
		}
	}
	return start, end
}
