package command

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/progress"
)

// metrics counts what came from the cache. The JSON names are known to
// scripts.
type metrics struct {
	begun time.Time
	steps map[digest.Digest]*counted
}

// counted is what is known of one step.
type counted struct {
	name                    string
	cached, completed, from bool
}

// newMetrics starts the clock.
func newMetrics() *metrics { return &metrics{time.Now(), map[digest.Digest]*counted{}} }

var fromStep = regexp.MustCompile(`^\[.*\] FROM`)

// add takes in what is new. A step may be told of many times.
func (m *metrics) add(b *progress.Batch) {
	for _, v := range b.Vertices {
		s := m.steps[v.Digest]
		if s == nil {
			s = &counted{name: v.Name}
			m.steps[v.Digest] = s
		}
		s.from = s.from || fromStep.MatchString(v.Name)
		s.cached = s.cached || v.Cached
		s.completed = s.completed || v.Completed != nil
	}
}

// internal steps are none of the user's.
func (s *counted) internal() bool {
	return slices.ContainsFunc([]string{"[internal]", "[auth]", "importing cache", "exporting "},
		func(p string) bool { return strings.HasPrefix(s.name, p) })
}

// write prints a line for each step that had to run, and the sums as JSON in
// the last line: scripts read that one.
func (m *metrics) write(w io.Writer) error {
	var n struct {
		Total            int64 `json:"total"`
		Completed        int64 `json:"completed"`
		UserTotal        int64 `json:"user_total"`
		UserCached       int64 `json:"user_cached"`
		UserCompleted    int64 `json:"user_completed"`
		UserCacheable    int64 `json:"user_cacheable"`
		From             int64 `json:"from"`
		Miss             int64 `json:"miss"`
		ClientDurationMS int64 `json:"client_duration_ms"`
	}
	n.ClientDurationMS = time.Since(m.begun).Milliseconds()
	one := map[bool]int64{true: 1}
	for _, id := range slices.Sorted(maps.Keys(m.steps)) {
		s := m.steps[id]
		n.Total++
		n.Completed += one[s.completed]
		if s.internal() {
			continue
		}
		n.UserTotal++
		n.UserCached += one[s.cached]
		n.UserCompleted += one[s.completed]
		n.From += one[s.from]
		n.UserCacheable += one[!s.from]
		if !s.cached && !s.from {
			n.Miss++
			fmt.Fprintf(w, "cache miss: %s\n", s.name)
		}
	}
	return json.NewEncoder(w).Encode(n)
}
