package build

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
)

// maxHeld bounds the output kept of steps whose turn has not come, in bytes for
// each. Steps run side by side but are told one after the other.
const maxHeld = 1 << 20

// Colours that set errors of processes apart.
const (
	red   = "\x1b[91m"
	plain = "\x1b[0m"
)

// stepName takes the name of a step apart: platform, stage, number and total,
// instruction.
var stepName = regexp.MustCompile(`^\[(?:(\S+/\S+) )?(?:([a-z0-9][a-z0-9_.-]*) )? *([0-9]+)/([0-9]+)\] (.*)$`)

// shown is what was seen of a step.
type shown struct {
	*step
	// digest and name of the vertex; empty until it is seen. The name is
	// without what stands in brackets.
	digest        digest.Digest
	name          string
	started, done bool
	cached        bool
	err           string
	held          bytes.Buffer
	clipped       bool
	// announced says that its line was printed, running that of its container.
	announced, running bool
	// triggers is how many triggers the base image has, for a step that is one
	// of them; 0 for instructions of the Dockerfile.
	triggers int
}

// printer tells events of a build as the classic builder does.
type printer struct {
	out    io.Writer
	remove bool
	pulls  *pulls
	steps  []*shown
	// known has the steps by vertex, places by their numbers.
	known  map[digest.Digest]*shown
	places map[place]*shown
	// open is whether the plan is not known: steps are added as they come.
	open bool
	// at is the step whose turn it is.
	at int
	// failed is the step that made the build fail; built the image, in the end.
	failed *shown
	built  digest.Digest
	err    error
}

// place is a step by the numbers in its name.
type place struct {
	stage  string
	number int
}

// newPrinter returns a printer of a plan; tell takes messages about what is
// fetched, nil for none.
func newPrinter(out io.Writer, p *plan, remove bool, tell func(route.Message)) *printer {
	pr := &printer{out: out, remove: remove, pulls: newPulls(tell), known: map[digest.Digest]*shown{}, places: map[place]*shown{}, open: len(p.steps) == 0}
	for _, s := range p.steps {
		one := &shown{step: s}
		pr.steps = append(pr.steps, one)
		if s.number > 0 {
			pr.places[place{s.stage, s.number}] = one
		}
	}
	return pr
}

// show tells a batch of events. The error is the writer's: nobody reads any
// more.
func (p *printer) show(b *progress.Batch) error {
	for _, v := range b.Vertices {
		p.vertex(v)
	}
	for _, ev := range b.Statuses {
		if s := p.known[ev.Vertex]; s != nil {
			p.pulls.show(s.name, ev)
		}
	}
	for _, l := range b.Logs {
		if s := p.known[l.Vertex]; s != nil {
			s.hold(l)
		}
	}
	p.advance(false)
	return p.err
}

// vertex notes the state of a step.
func (p *printer) vertex(v *solver.VertexEvent) {
	s := p.known[v.Digest]
	if s == nil {
		if s = p.find(v); s == nil {
			return
		}
		p.known[v.Digest], s.digest = s, v.Digest
	}
	s.started = s.started || v.Started != nil
	s.cached = s.cached || v.Cached
	s.done = v.Completed != nil
	if s.err = v.Error; s.err != "" && !strings.Contains(s.err, "context canceled") {
		p.failed = s
	}
}

// find returns the step of a vertex that is seen for the first time; nil for
// those that no instruction names.
func (p *printer) find(v *solver.VertexEvent) *shown {
	m := stepName.FindStringSubmatch(v.Name)
	if m == nil {
		return nil
	}
	number, err := strconv.Atoi(m[3])
	total, errTotal := strconv.Atoi(m[4])
	if err != nil || errTotal != nil {
		return nil
	}
	stage := m[2]
	if p.open {
		s := &shown{step: &step{text: m[5], stage: stage, number: number, total: total}, name: m[5]}
		p.steps = append(p.steps, s)
		return s
	}
	first := p.places[place{stage, 1}]
	if first == nil {
		return nil
	}
	// Triggers of the base image stand between it and the first instruction.
	extra := total - first.total
	if extra > 0 && number > 1 {
		if number-extra <= 1 {
			return p.trigger(first, &shown{step: &step{text: m[5], stage: stage, number: number, total: total}, name: m[5], triggers: extra})
		}
		number -= extra
	}
	s := p.places[place{stage, number}]
	if s == nil || s.digest != "" {
		return nil
	}
	s.name = m[5]
	return s
}

// trigger adds a trigger after its base image; nil if that was told already.
func (p *printer) trigger(base, s *shown) *shown {
	i := slices.Index(p.steps, base)
	for i++; i < len(p.steps) && p.steps[i].triggers > 0 && p.steps[i].number < s.number; i++ {
	}
	if i < p.at || i == p.at && i < len(p.steps) && p.steps[i].announced {
		return nil
	}
	if command, ok := strings.CutPrefix(s.text, "RUN "); ok {
		s.command = "/bin/sh -c " + command
	}
	p.steps = slices.Insert(p.steps, i, s)
	return s
}

// hold keeps output until the step's turn comes.
func (s *shown) hold(l *solver.LogEvent) {
	if s.held.Len()+len(l.Data) > maxHeld {
		if !s.clipped {
			s.held.WriteString("\n[output clipped]\n")
		}
		s.clipped = true
		return
	}
	if l.Stream == solver.Stderr {
		s.held.WriteString(red)
		s.held.Write(l.Data)
		s.held.WriteString(plain)
		return
	}
	s.held.Write(l.Data)
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format, args...)
	}
}

// advance tells as much as can be told; at the end of a build all the rest.
func (p *printer) advance(end bool) {
	for ; p.at < len(p.steps) && p.err == nil; p.at++ {
		s := p.steps[p.at]
		if !p.ready(s, end) {
			return
		}
		p.announce(s)
		p.flush(s)
		// The last one's id is that of the image, which is not known before.
		if !end && (p.at == len(p.steps)-1 || !p.over(s)) {
			return
		}
		p.finish(s)
	}
}

// ready tells whether something can be said of the step whose turn it is. What
// only changes the configuration waits for the next step that runs, to know
// whether the cache was left.
func (p *printer) ready(s *shown, end bool) bool {
	if end || s.started {
		return true
	}
	next := p.next()
	return next != nil && next.started
}

// next returns the next step of the same stage that was to be seen.
func (p *printer) next() *shown {
	stage := p.steps[p.at].stage
	for _, s := range p.steps[p.at+1:] {
		if s.stage != stage {
			return nil
		}
		if s.number > 0 {
			return s
		}
	}
	return nil
}

// announce prints the line of a step.
func (p *printer) announce(s *shown) {
	if s.announced {
		return
	}
	s.announced = true
	if s.triggers > 0 {
		if p.steps[p.at-1].triggers == 0 {
			p.printf("# Executing %d build trigger%s\n", s.triggers, strings.Repeat("s", min(1, s.triggers-1)))
		}
		return
	}
	number, total := instructions(p.steps[:p.at+1]), instructions(p.steps)
	if p.open {
		total = s.total
		p.printf("Step %d/%d : %s\n", s.number, total, s.text)
		return
	}
	p.printf("Step %d/%d : %s\n", number, total, s.text)
}

// instructions is how many of the steps are of the Dockerfile.
func instructions(steps []*shown) (n int) {
	for _, s := range steps {
		if s.triggers == 0 {
			n++
		}
	}
	return n
}

// flush prints what a process said so far.
func (p *printer) flush(s *shown) {
	if s.command == "" && s.held.Len() == 0 {
		return
	}
	if s.started && !s.cached && !s.running && (s.held.Len() > 0 || s.command != "") {
		s.running = true
		p.printf(" ---> Running in %s\n", container(s))
	}
	if s.held.Len() > 0 {
		p.printf("%s", s.held.String())
		s.held.Reset()
	}
}

// over tells whether nothing more will be said of a step about which something
// was: it is done, or only a later one is seen. A base image is fetched when
// somebody needs it, so it is over when the next step begins.
func (p *printer) over(s *shown) bool {
	if next := p.next(); basedOn(s.name) != nil && next != nil && !next.started {
		return false
	}
	return s.done || s.number == 0 || s.digest == ""
}

// finish prints how a step ended.
func (p *printer) finish(s *shown) {
	if s.err != "" || s == p.failed {
		return
	}
	p.pulls.end(s.digest, s.name)
	cached := s.cached
	if s.number == 0 {
		cached = p.around()
	}
	if cached && !strings.HasPrefix(strings.ToUpper(s.text), "FROM") {
		p.printf(" ---> Using cache\n")
	}
	if s.running && p.remove {
		p.printf(" ---> Removed intermediate container %s\n", container(s))
	}
	p.printf(" ---> %s\n", p.image(s))
}

// around tells whether the steps before and after a change of the
// configuration were in the cache; without any, nothing is claimed.
func (p *printer) around() bool {
	stage, some := p.steps[p.at].stage, false
	for i := p.at - 1; i >= 0 && p.steps[i].stage == stage; i-- {
		s := p.steps[i]
		if s.number == 0 || s.number == 1 && i > 0 || s.digest == "" {
			continue
		}
		if i == 0 || p.steps[i-1].stage != stage {
			break // The base image says nothing of the cache.
		}
		if !s.cached {
			return false
		}
		some = true
		break
	}
	if next := p.next(); next != nil && next.digest != "" {
		return next.cached
	}
	return some
}

// end tells the rest of a build: all of it, or up to the step that failed.
func (p *printer) end(built digest.Digest, failed bool) error {
	if !failed {
		p.built = built
		p.advance(true)
		return p.err
	}
	if p.failed == nil {
		return p.err
	}
	for i, s := range p.steps {
		if s == p.failed {
			p.steps = p.steps[:i+1]
			break
		}
	}
	p.advance(true)
	return p.err
}

// container is what looks like the id of a step's container.
func container(s *shown) string { return short(digest.FromString("container " + string(s.digest))) }

// image is what looks like the id of the image after the step whose turn it is.
func (p *printer) image(s *shown) string {
	if p.built != "" && p.at == len(p.steps)-1 {
		return short(p.built)
	}
	for i := p.at; i >= 0 && s.digest == ""; i-- {
		if p.steps[i].digest != "" && p.steps[i].stage == s.stage {
			return short(digest.FromString(string(p.steps[i].digest) + s.text))
		}
	}
	if s.digest == "" {
		return short(digest.FromString(s.text))
	}
	return short(s.digest)
}

// short is the form of digests that people are shown.
func short(d digest.Digest) string {
	_, encoded, _ := strings.Cut(string(d), ":")
	return encoded[:min(12, len(encoded))]
}
