package diagnose

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/cache/remote"
)

// maxStore bounds the keys of the answers below, which are put together in memory.
const maxStore = 200_000

// record is a key with its neighbours. Names and numbers of the fields are those that readers of the predecessor's
// answers know.
type record struct {
	ID      int           `json:"id"`
	Parents []link        `json:"parents,omitempty"`
	Digest  digest.Digest `json:"digest,omitempty"`
	// Children has, by input, the records that have this one there.
	Children map[int]map[int]struct{} `json:"children,omitempty"`
}

// link is one alternative of an input.
type link struct {
	Input    int           `json:"input"`
	Output   int           `json:"output"`
	Digest   digest.Digest `json:"digest,omitempty"`
	Selector digest.Digest `json:"selector,omitempty"`
	Target   int           `json:"target,omitempty"`
}

// print writes the record for people.
func (r *record) print(w io.Writer) {
	fmt.Fprintf(w, "ID: %d\n", r.ID)
	if r.Digest != "" {
		fmt.Fprintf(w, "Digest: %s\n", r.Digest)
	}
	if len(r.Parents) > 0 {
		fmt.Fprintln(w, "Parents:")
	}
	for _, p := range r.Parents {
		fmt.Fprintf(w, "  Input %d:\t%d\t%s\n", p.Input, p.Target, p.Digest)
		if p.Selector != "" {
			fmt.Fprintf(w, "    Selector: %s\n", p.Selector)
		}
	}
	if len(r.Children) > 0 {
		fmt.Fprintln(w, "Children:")
	}
	for _, input := range slices.Sorted(maps.Keys(r.Children)) {
		fmt.Fprintf(w, "  Input %d:\t%v\n", input, slices.Sorted(maps.Keys(r.Children[input])))
	}
}

// adopt notes a child.
func (r *record) adopt(input, child int) {
	if r.Children == nil {
		r.Children = map[int]map[int]struct{}{}
	}
	if r.Children[input] == nil {
		r.Children[input] = map[int]struct{}{}
	}
	r.Children[input][child] = struct{}{}
}

// serveStore shows the whole build cache as a graph.
func (d *Diagnoser) serveStore(w http.ResponseWriter, r *http.Request) {
	d.withCache(w, func(c cache.Inspector) {
		var nodes []cache.Node
		err := eachKey(r.Context(), c, func(n cache.Node) error {
			if len(nodes) == maxStore {
				return fmt.Errorf("the cache has more than %d keys: use /debug/cache/all", maxStore)
			}
			nodes = append(nodes, n)
			return nil
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeRecords(w, r, fromNodes(nodes))
	})
}

// fromNodes numbers keys from 1 and links them.
func fromNodes(nodes []cache.Node) []*record {
	out := make([]*record, len(nodes))
	byID := make(map[digest.Digest]*record, len(nodes))
	for i, n := range nodes {
		out[i] = &record{ID: i + 1}
		if len(n.Inputs) == 0 {
			out[i].Digest = n.Structure.Digest
		}
		byID[n.ID] = out[i]
	}
	for i, n := range nodes {
		for input, in := range n.Inputs {
			l := link{Input: input, Output: n.Output, Digest: n.Structure.Digest, Selector: in.Selector}
			if parent := byID[in.Key]; parent != nil {
				l.Target = parent.ID
				parent.adopt(input, out[i].ID)
			}
			out[i].Parents = append(out[i].Parents, l)
		}
	}
	return out
}

// serveLoad shows the graph of an exported cache's configuration, which is the body.
func (d *Diagnoser) serveLoad(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, remote.MaxConfig))
	if err != nil {
		status := http.StatusBadRequest
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "read cache config: "+err.Error(), status)
		return
	}
	config, err := remote.ParseConfig(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeRecords(w, r, fromConfig(config))
}

// fromConfig numbers the records of an exported cache and links them.
func fromConfig(config *remote.Config) []*record {
	out := make([]*record, len(config.Records))
	for i := range out {
		out[i] = &record{ID: i + 1}
	}
	for i, rec := range config.Records {
		if len(rec.Inputs) == 0 {
			out[i].Digest = rec.Digest
		}
		for input, alternatives := range rec.Inputs {
			for _, in := range alternatives {
				out[i].Parents = append(out[i].Parents, link{
					Input: input, Digest: rec.Digest, Selector: digest.Digest(in.Selector), Target: out[in.Link].ID,
				})
				out[in.Link].adopt(input, out[i].ID)
			}
		}
	}
	return out
}

func writeRecords(w http.ResponseWriter, r *http.Request, records []*record) {
	out := newList(w, r)
	for _, rec := range records {
		if err := out.add(rec); err != nil {
			out.end(err)
			return
		}
	}
	out.end(nil)
}
