package diagnose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
)

// pageSize is how many keys are read from the cache at once.
const pageSize = 1000

// keyInfo is a key of the build cache in answers.
type keyInfo struct {
	Digest digest.Digest `json:"digest"`
	// Op is the digest of what was done; empty for a key that stands for content.
	Op     digest.Digest `json:"op,omitempty"`
	Output int           `json:"output,omitempty"`
	Inputs []inputInfo   `json:"inputs,omitempty"`
	// Result is the id that "du" shows; nil if nothing is stored, empty for the empty file system.
	Result    *string    `json:"result,omitempty"`
	CreatedAt *time.Time `json:"createdAt,omitempty"`
}

// inputInfo is one input of a key.
type inputInfo struct {
	Digest   digest.Digest `json:"digest"`
	Selector digest.Digest `json:"selector,omitempty"`
}

func toKey(n cache.Node) keyInfo {
	k := keyInfo{Digest: n.ID, Op: n.Structure.Digest, Output: n.Output}
	if n.Output == solver.ContentOutput {
		k.Op, k.Output = "", 0
	}
	for _, in := range n.Inputs {
		k.Inputs = append(k.Inputs, inputInfo{in.Key, in.Selector})
	}
	if n.Record != nil {
		k.Result, k.CreatedAt = &n.Record.ResultID, &n.Record.CreatedAt
	}
	return k
}

// print writes the key for people.
func (k keyInfo) print(w io.Writer) {
	what := "content"
	if k.Op != "" {
		what = fmt.Sprintf("output %d of %s", k.Output, k.Op)
	}
	fmt.Fprintf(w, "%s (%s):\n", k.Digest, what)
	for i, in := range k.Inputs {
		fmt.Fprintf(w, "  input %d: %s", i, in.Digest)
		if in.Selector != "" {
			fmt.Fprintf(w, " selector %s", in.Selector)
		}
		fmt.Fprintln(w)
	}
	if k.Result != nil {
		fmt.Fprintf(w, "  result: %q of %s\n", *k.Result, k.CreatedAt.Format(time.RFC3339))
	}
}

// list writes a list of values, one at a time: as JSON if the client asks for it, with text for people otherwise.
type list struct {
	w    http.ResponseWriter
	json bool
	n    int
}

func newList(w http.ResponseWriter, r *http.Request) *list {
	l := &list{w: w, json: r.Header.Get("Accept") == "application/json"}
	kind := "text/plain; charset=utf-8"
	if l.json {
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	return l
}

// add writes a value.
func (l *list) add(v interface{ print(w io.Writer) }) error {
	before := "\n"
	if l.json {
		before = ",\n"
		if l.n == 0 {
			before = "[\n"
		}
	} else if l.n == 0 {
		before = ""
	}
	l.n++
	if _, err := io.WriteString(l.w, before); err != nil {
		return err
	}
	if !l.json {
		v.print(l.w)
		return nil
	}
	data, err := json.MarshalIndent(v, "  ", "  ")
	if err == nil {
		_, err = l.w.Write(append([]byte("  "), data...))
	}
	return err
}

// end closes the list. With an error, of which the status can no longer tell, JSON stays broken.
func (l *list) end(err error) {
	switch {
	case err != nil && l.n == 0:
		http.Error(l.w, err.Error(), http.StatusInternalServerError)
	case err != nil:
		fmt.Fprintf(l.w, "\nerror: %v\n", err)
	case l.json && l.n == 0:
		_, _ = io.WriteString(l.w, "[]\n")
	case l.json:
		_, _ = io.WriteString(l.w, "\n]\n")
	}
}

// eachKey calls fn for all keys, page by page.
func eachKey(ctx context.Context, c cache.Inspector, fn func(cache.Node) error) error {
	var last digest.Digest
	for {
		page, err := c.List(ctx, last, pageSize)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, n := range page {
			if err := fn(n); err != nil {
				return err
			}
			last = n.ID
		}
	}
}

// withCache calls fn with the build cache, or says that there is none yet.
func (d *Diagnoser) withCache(w http.ResponseWriter, fn func(cache.Inspector)) {
	c := d.inspector()
	if c == nil {
		http.Error(w, "the build cache is not open yet", http.StatusServiceUnavailable)
		return
	}
	fn(c)
}

// serveAll lists all keys.
func (d *Diagnoser) serveAll(w http.ResponseWriter, r *http.Request) {
	d.withCache(w, func(c cache.Inspector) {
		out := newList(w, r)
		out.end(eachKey(r.Context(), c, func(n cache.Node) error { return out.add(toKey(n)) }))
	})
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// maxWalk bounds the keys that one lookup shows.
const maxWalk = 10_000

// serveLookup shows a key with all that it is made of.
func (d *Diagnoser) serveLookup(w http.ResponseWriter, r *http.Request) {
	id, err := digest.Parse(r.URL.Query().Get("digest"))
	if err != nil {
		http.Error(w, "digest: write ?digest=sha256:...: "+err.Error(), http.StatusBadRequest)
		return
	}
	d.withCache(w, func(c cache.Inspector) {
		out := newList(w, r)
		err := c.Walk(r.Context(), id, func(n cache.Node) error {
			if out.n == maxWalk {
				return errEnough
			}
			return out.add(toKey(n))
		})
		if err == nil && out.n == 0 {
			http.Error(w, "no key "+id.String(), http.StatusNotFound)
			return
		}
		if errors.Is(err, errEnough) {
			err = nil
		}
		out.end(err)
	})
}
