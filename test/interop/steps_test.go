package interop_test

import (
	"regexp"
	"strings"
)

// steps reads plain progress: what the client was told of each step.
type steps struct {
	// name is the step's name by number, in the order of appearance.
	name map[string]string
	// done and cached hold the numbers of finished steps.
	done, cached map[string]bool
	// said is the output of each step, by number.
	said map[string]string
}

var (
	stepLine = regexp.MustCompile(`^#(\d+) (.*)$`)
	logLine  = regexp.MustCompile(`^\d+\.\d+ (.*)$`)
)

// readSteps reads what a client printed with --progress=plain.
func readSteps(plain string) steps {
	s := steps{name: map[string]string{}, done: map[string]bool{}, cached: map[string]bool{}, said: map[string]string{}}
	for line := range strings.Lines(plain) {
		m := stepLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		id, text := m[1], m[2]
		switch {
		case strings.HasPrefix(text, "DONE "):
			s.done[id] = true
		case text == "CACHED":
			s.done[id], s.cached[id] = true, true
		case logLine.MatchString(text):
			s.said[id] += logLine.FindStringSubmatch(text)[1] + "\n"
		case s.name[id] == "":
			s.name[id] = text
		}
	}
	return s
}

// find returns the number of the one step whose name contains text; empty if
// there is none.
func (s steps) find(text string) string {
	for id, name := range s.name {
		if strings.Contains(name, text) {
			return id
		}
	}
	return ""
}

// finished says whether the step whose name contains text is done.
func (s steps) finished(text string) bool { return s.done[s.find(text)] }

// wasCached says whether the step whose name contains text was cached.
func (s steps) wasCached(text string) bool { return s.cached[s.find(text)] }

// output returns what the step whose name contains text printed.
func (s steps) output(text string) string { return s.said[s.find(text)] }

// ran lists the names of build steps ([1/2] RUN …) that were not cached.
func (s steps) ran() []string {
	var names []string
	for id, name := range s.name {
		if strings.HasPrefix(name, "[") && !strings.HasPrefix(name, "[internal]") && !s.cached[id] && s.done[id] {
			names = append(names, name)
		}
	}
	return names
}
