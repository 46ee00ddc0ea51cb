package lower

import (
	"slices"
	"strconv"
	"strings"
)

// Arguments that tell what else is scanned when the target is: a boolean, or
// the names of the stages that they hold for.
const (
	argScanContext = "BUILDKIT_SBOM_SCAN_CONTEXT"
	argScanStage   = "BUILDKIT_SBOM_SCAN_STAGE"
)

// contextExtra is what the main context is called among extras.
const contextExtra = "context"

// extras finds what is scanned with the target, by name. Only files and
// ignoreCache of the stages count.
func (c *conversion) extras(target *stage) map[string]*stage {
	out := map[string]*stage{}
	if c.scans(target, argScanContext) {
		out[contextExtra] = &stage{state: state{files: c.context}}
	}
	for s := range reachable(target) {
		if s != target && !s.foreign && s.lowered && c.scans(s, argScanStage) {
			out[s.label] = s
		}
	}
	return out
}

// scans tells whether an argument holds for a stage: its own ARG counts more
// than the one above the first FROM.
func (c *conversion) scans(s *stage, name string) bool {
	value, _ := c.args.Get(name)
	for _, arg := range s.args {
		if arg.name == name && arg.value != nil {
			value = *arg.value
		}
	}
	if on, err := strconv.ParseBool(value); err == nil {
		return on
	}
	return value != "" && slices.Contains(strings.Split(value, ","), s.label)
}
