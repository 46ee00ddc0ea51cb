package provenance

import (
	"maps"
	"path"
	"reflect"
	"strings"
)

// Request is what a frontend was asked for; the zero value is a graph that a
// client sent itself.
type Request struct {
	Frontend string
	Args     map[string]string
	// Inputs are the requests whose results went into this one, by name.
	Inputs map[string]*Request
}

// Names of arguments with a meaning here.
const (
	argContext     = "context"
	argContextKey  = "contextkey"
	argFilename    = "filename"
	prefixInput    = "input:"
	prefixAttest   = "attest:"
	prefixBuildArg = "build-arg:"
	prefixLabel    = "label:"
	prefixVCS      = "vcs:"
	vcsSource      = "source"
)

// hostArgs concern the machine that a build ran on and not what it made.
var hostArgs = map[string]bool{"cgroup-parent": true, "image-resolve-mode": true, "platform": true, "cache-imports": true}

// contextArg is the name of the argument with the build context.
func (r *Request) contextArg() string {
	if key := r.Args[argContextKey]; key != "" {
		return key
	}
	if r.Args[prefixInput+argContext] != "" {
		return prefixInput + argContext
	}
	return argContext
}

// told are the arguments that may be told.
func (r *Request) told() map[string]string {
	key := argContext
	if k := r.Args[argContextKey]; k != "" {
		key = k
	}
	out := map[string]string{}
	for k, v := range r.Args {
		if hostArgs[k] || strings.HasPrefix(k, prefixAttest) {
			continue
		}
		if k == key || strings.HasPrefix(k, argContext+":") || k == prefixVCS+vcsSource {
			v = redact(v)
		}
		out[k] = v
	}
	return out
}

// source splits what was asked for into where the instructions came from and
// the rest of the arguments.
func (r *Request) source(materials Materials) *InputSource {
	out := &InputSource{Request: &Parameters{Frontend: r.Frontend}}
	args := r.told()
	key := r.contextArg()
	if v := args[key]; v != "" {
		out.ConfigSource = materials.find(v)
		delete(args, key)
	}
	if v := args[argFilename]; v != "" {
		out.ConfigSource.Path = v
		delete(args, argFilename)
	}
	if len(args) > 0 {
		out.Request.Args = args
	}
	for name, in := range r.Inputs {
		if out.Request.Inputs == nil {
			out.Request.Inputs = map[string]*InputSource{}
		}
		out.Request.Inputs[name] = in.source(materials)
	}
	return out
}

// empty tells that there is nothing to tell.
func (r *Request) empty() bool {
	return r == nil || r.Frontend == "" && len(r.Args) == 0 && len(r.Inputs) == 0
}

// find pins the context of a build if it is one of the materials.
func (ms Materials) find(context string) ConfigSource {
	repository, full := gitURL(context)
	for _, m := range ms {
		switch {
		case m.Kind == Git && m.Ref == redact(repository):
			return ConfigSource{URI: redact(full), Digest: commitSet(m.Pin)}
		case m.Kind == HTTP && m.Ref == redact(context):
			return ConfigSource{URI: m.Ref, Digest: digestSet(m.Pin)}
		}
	}
	return ConfigSource{URI: redact(context)}
}

// gitURL returns a repository's URL with the reference in its fragment, and
// the same with a directory in it.
func gitURL(s string) (repository, full string) {
	base, fragment, _ := strings.Cut(s, "#")
	base, query, _ := strings.Cut(base, "?")
	if query != "" {
		fragment = queryFragment(query)
	}
	ref, dir, _ := strings.Cut(fragment, ":")
	repository = base
	if ref != "" {
		repository += "#" + ref
	}
	if dir = strings.Trim(path.Join("/", dir), "/"); dir != "" {
		return repository, base + "#" + ref + ":" + dir
	}
	return repository, repository
}

// queryFragment turns the query form of a git reference into that of the
// fragment.
func queryFragment(query string) string {
	var ref, dir string
	for part := range strings.SplitSeq(query, "&") {
		switch k, v, _ := strings.Cut(part, "="); k {
		case "ref", "branch", "tag", "commit":
			if ref == "" {
				ref = v
			}
			if k == "branch" {
				ref = "refs/heads/" + v
			}
			if k == "tag" {
				ref = "refs/tags/" + v
			}
		case "subdir":
			dir = v
		}
	}
	if dir != "" {
		return ref + ":" + dir
	}
	return ref
}

// vcs takes what clients tell of their repository out of arguments.
func vcs(args map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range args {
		if name, ok := strings.CutPrefix(k, prefixVCS); ok {
			delete(args, k)
			if v != "" {
				out[name] = v
			}
		}
	}
	return out
}

// scrub leaves out what users write themselves; it tells whether there was
// anything.
func (p *Parameters) scrub() bool {
	if p == nil {
		return false
	}
	before := len(p.Args)
	p.Args = maps.Clone(p.Args)
	maps.DeleteFunc(p.Args, func(k, _ string) bool {
		return strings.HasPrefix(k, prefixBuildArg) || strings.HasPrefix(k, prefixLabel)
	})
	less := len(p.Args) < before
	p.Secrets, p.SSH = nil, nil
	for _, in := range p.Inputs {
		less = in.Request.scrub() || less
	}
	if p.Root != nil {
		less = p.Root.Request.scrub() || less
	}
	return less
}

// equal tells whether two requests say the same.
func (s *InputSource) equal(o *InputSource) bool { return reflect.DeepEqual(s, o) }
