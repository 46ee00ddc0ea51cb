package route

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// Handler answers one endpoint; name is what stood in the place of the
// pattern's name. An error that it returns becomes the answer unless something
// has been written.
type Handler func(w http.ResponseWriter, r *http.Request, name string) error

// Mux finds the handler of a request. Use NewMux; it is filled before use.
type Mux struct {
	server   string
	patterns []pattern
}

// pattern is a compiled path: prefix, a name if there is one, suffix.
type pattern struct {
	method         string
	prefix, suffix string
	named          bool
	handler        Handler
}

// NewMux returns a Mux without endpoints; server is the value of the header of
// that name.
func NewMux(server string) *Mux { return &Mux{server: server} }

// Handle adds an endpoint. Earlier patterns win.
func (m *Mux) Handle(method, path string, h Handler) {
	p := pattern{method: method, prefix: path, handler: h}
	if before, after, ok := strings.Cut(path, "{"); ok {
		_, p.suffix, _ = strings.Cut(after, "}")
		p.prefix, p.named = before, true
	}
	m.patterns = append(m.patterns, p)
}

// match returns what stands in the place of the name.
func (p *pattern) match(path string) (name string, ok bool) {
	if !p.named {
		return "", path == p.prefix
	}
	rest, ok := strings.CutPrefix(path, p.prefix)
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(rest, p.suffix)
	return name, ok && name != ""
}

// find returns the handler of a path; without one, others are the methods that
// the path has a handler for.
func (m *Mux) find(method, path string) (h Handler, name string, others []string) {
	for i := range m.patterns {
		p := &m.patterns[i]
		name, ok := p.match(path)
		if !ok {
			continue
		}
		if p.method == method {
			return p.handler, name, nil
		}
		if !contains(others, p.method) {
			others = append(others, p.method)
		}
	}
	return nil, "", others
}

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Server", m.server)
	head.Set("Api-Version", Newest.String())
	head.Set("Ostype", "linux")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	v, path, _ := splitVersion(r.URL.Path)
	if err := v.check(); err != nil {
		WriteError(w, err)
		return
	}
	var err error
	// Nothing of a body is a parameter: an archive that a simple client calls
	// a form must reach its handler.
	if r.Form, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		WriteError(w, fmt.Errorf("invalid query: %w: %w", err, errdefs.ErrInvalidArgument))
		return
	}
	h, name, others := m.find(r.Method, path)
	switch {
	case h == nil && len(others) > 0:
		head.Set("Allow", strings.Join(others, ", "))
		writeMessage(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here")
		return
	case h == nil:
		writeMessage(w, http.StatusNotFound, "page not found")
		return
	}
	out := &tracked{ResponseWriter: w}
	if err = call(h, out, withVersion(r, v), name); err != nil {
		if out.wrote {
			log.G(r.Context()).WithError(err).Debugf("%s %s after the answer began", r.Method, path)
			return
		}
		WriteError(w, err)
	}
}

// call runs a handler; a panic of one request must not end the others.
func call(h Handler, w http.ResponseWriter, r *http.Request, name string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // it is thrown as it is
				panic(p)
			}
			log.G(r.Context()).Errorf("panic in %s %s: %v\n%s", r.Method, r.URL.Path, p, debug.Stack())
			err = fmt.Errorf("internal error: %v: %w", p, errdefs.ErrInternal)
		}
	}()
	return h(w, r, name)
}

// tracked notes whether an answer has begun.
type tracked struct {
	http.ResponseWriter
	wrote bool
}

// WriteHeader begins the answer.
func (t *tracked) WriteHeader(status int) {
	t.wrote = true
	t.ResponseWriter.WriteHeader(status)
}

// Write begins or continues the answer.
func (t *tracked) Write(p []byte) (int, error) {
	t.wrote = true
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }
