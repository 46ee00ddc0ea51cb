package ref

import (
	"path"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/differ/layerindex"
)

// fuzzTree is a tree of two layers with most of what trees can have.
func fuzzTree(t testing.TB) *tree {
	t.Helper()
	var chain []*layerIndex
	for _, entries := range [][]layerindex.Entry{
		{
			{Path: "", Kind: layerindex.Directory, Mode: 0o755},
			{Path: "a", Kind: layerindex.Directory, Mode: 0o755},
			{Path: "a/f", Kind: layerindex.Regular},
			{Path: "a/gone", Kind: layerindex.Regular},
			{Path: "b", Kind: layerindex.Directory, Mode: 0o700},
			{Path: "b/c/d", Kind: layerindex.Regular}, // b/c is implied
			{Path: "loop", Kind: layerindex.Symlink, LinkName: "x/../loop"},
			{Path: "up", Kind: layerindex.Symlink, LinkName: "../../a"},
		},
		{
			{Path: "a", Kind: layerindex.Directory, Mode: 0o711},
			{Path: "a/gone", Kind: layerindex.Whiteout},
			{Path: "b", Kind: layerindex.Directory, Mode: 0o755, Opaque: true},
			{Path: "b/e", Kind: layerindex.Symlink, LinkName: "/up/f"},
		},
	} {
		b := layerindex.NewBuilder()
		for _, e := range entries {
			e.Seal()
			b.Put(&e)
		}
		idx, err := b.Index()
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, &layerIndex{idx: idx})
	}
	return newTree(chain)
}

func TestTree(t *testing.T) {
	tr := fuzzTree(t)
	for p, want := range map[string]string{
		"/a/f": "/a/f", "/b/e": "/a/f", "/up/f": "/a/f", "/a/gone": "", "/b/c": "", "/b/c/d": "",
		"": "/", "/..": "/", "/a/../b/e": "/a/f", "/a/f/x": "", "up": "/a", "/none/../a": "/a",
	} {
		got, n, err := tr.lookup(p, true)
		if err != nil {
			t.Errorf("%s: %v", p, err)
		}
		if n == nil {
			got = ""
		}
		if got != want {
			t.Errorf("%s: found %q, want %q", p, got, want)
		}
	}
}

// FuzzContentDigest asks for paths and patterns as clients and their links
// send them: no answer may panic or lie outside.
func FuzzContentDigest(f *testing.F) {
	f.Add("/a/f", "", "", true, false)
	f.Add("/a/*", "**/f", "!x", false, true)
	f.Add("loop/../b/e/", "[", "\\", true, true)
	f.Fuzz(func(t *testing.T, p, include, exclude string, follow, wildcard bool) {
		if len(p)+len(include)+len(exclude) > 512 {
			return
		}
		tr := fuzzTree(t)
		if found, n, err := tr.lookup(p, follow); err == nil && n != nil && path.Clean(found) != found {
			t.Errorf("%q resolves to %q", p, found)
		}
		opt := ContentOptions{FollowLinks: follow, Wildcard: wildcard}
		if include != "" {
			opt.Include = strings.Split(include, ",")
		}
		if exclude != "" {
			opt.Exclude = strings.Split(exclude, ",")
		}
		one, err := tr.selectionDigest(t.Context(), p, &opt)
		again, err2 := fuzzTree(t).selectionDigest(t.Context(), p, &opt)
		if one != again || (err == nil) != (err2 == nil) {
			t.Errorf("%q: %s, %v and %s, %v", p, one, err, again, err2)
		}
	})
}
