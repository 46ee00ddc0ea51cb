package syntax

// Position is a place in a file. Line counts from 1; Character is always 0
// because whole lines are reported.
type Position struct {
	Line      int `json:"line"`
	Character int `json:"character,omitempty"`
}

// Range is a stretch of text, ends included.
type Range struct {
	Start Position `json:"start"`
	End   Position `json:"end"`
}

// Lines returns one range for each line from first to last, which is the shape
// clients print best. A last before first means the one line.
func Lines(first, last int) []Range {
	last = max(first, last)
	ranges := make([]Range, 0, last-first+1)
	for line := first; line <= last; line++ {
		ranges = append(ranges, Range{Start: Position{Line: line}, End: Position{Line: line}})
	}
	return ranges
}

// Span returns the first and last line that ranges touch, zeros when there are
// none.
func Span(ranges []Range) (first, last int) {
	for _, r := range ranges {
		if first == 0 || r.Start.Line < first {
			first = r.Start.Line
		}
		last = max(last, r.End.Line)
	}
	return first, last
}
