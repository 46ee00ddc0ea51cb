package build

import (
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver"
)

const (
	// pullPause is the least time between two messages about the bytes of one
	// layer, maxPulled how many layers are told of.
	pullPause = 100 * time.Millisecond
	maxPulled = 10_000
)

// pulls tells what a build fetches of base images in the messages of a pull.
// Use newPulls.
type pulls struct {
	tell func(route.Message)
	// begun has the vertices that something was told of, layers what was told
	// last of each.
	begun  map[digest.Digest]bool
	layers map[string]*pulledLayer
}

// pulledLayer is what was told of a layer last.
type pulledLayer struct {
	text string
	at   time.Time
}

// newPulls returns a pulls that hands messages to tell; nil for nobody.
func newPulls(tell func(route.Message)) *pulls {
	return &pulls{tell, map[digest.Digest]bool{}, map[string]*pulledLayer{}}
}

// show tells of an activity of a base image's vertex, if it is about a layer.
// name is that of the vertex without what stands in brackets.
func (p *pulls) show(name string, ev *solver.StatusEvent) {
	text := ""
	id, extracting := strings.CutPrefix(ev.ID, "extracting ")
	layer := digest.Digest(id)
	switch {
	case p.tell == nil || layer.Validate() != nil || !extracting && ev.Name != "downloading":
		return
	case extracting && ev.Completed != nil:
		text = "Pull complete"
	case extracting:
		text = "Extracting"
	case ev.Completed != nil:
		text = "Download complete"
	case ev.Current > 0:
		text = "Downloading"
	default:
		text = "Pulling fs layer"
	}
	if !p.begun[ev.Vertex] {
		p.begun[ev.Vertex] = true
		if ref := basedOn(name); ref != nil {
			p.tell(route.Message{ID: tagOf(ref), Status: "Pulling from " + reference.Path(ref)})
		}
	}
	p.layer(layer, text, ev)
}

// layer tells of one layer, unless that was told already or just now.
func (p *pulls) layer(d digest.Digest, text string, ev *solver.StatusEvent) {
	l := p.layers[string(d)]
	if l == nil {
		if len(p.layers) == maxPulled {
			return
		}
		l = &pulledLayer{}
		p.layers[string(d)] = l
		if text != "Pulling fs layer" {
			p.tell(route.Message{ID: short(d), Status: "Pulling fs layer", Progress: &route.Progress{}})
		}
	}
	if text == l.text && (text != "Downloading" || ev.Timestamp.Sub(l.at) < pullPause) {
		return
	}
	l.text, l.at = text, ev.Timestamp
	m := route.Message{ID: short(d), Status: text, Progress: &route.Progress{}}
	if text == "Downloading" {
		m.Progress.Current, m.Progress.Total = ev.Current, ev.Total
	}
	p.tell(m)
}

// end tells that the image of a vertex is here; nothing if none of it had to be
// fetched.
func (p *pulls) end(vertex digest.Digest, name string) {
	ref := basedOn(name)
	if !p.begun[vertex] || ref == nil {
		return
	}
	delete(p.begun, vertex)
	if d, ok := ref.(reference.Digested); ok {
		p.tell(route.Message{Status: "Digest: " + d.Digest().String()})
	}
	p.tell(route.Message{Status: "Status: Downloaded newer image for " + reference.FamiliarName(ref) + ":" + tagOf(ref)})
}

// basedOn is the image in the name of a step ("FROM …"); nil if there is none.
func basedOn(name string) reference.Named {
	words := strings.Fields(name)
	if len(words) < 2 || !strings.EqualFold(words[0], "FROM") {
		return nil
	}
	ref, err := reference.ParseNormalizedNamed(words[1])
	if err != nil {
		return nil
	}
	return ref
}

// tagOf is the tag of an image, or the one that it has if nobody says.
func tagOf(ref reference.Named) string {
	if t, ok := ref.(reference.Tagged); ok {
		return t.Tag()
	}
	return "latest"
}
