package ref

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Digests that remote caches hold for these trees: facts of the format.
const (
	knownData0    = digest.Digest("sha256:cd8e75bca50f2d695f220d0cb0997d8ead387e4f926e8669a92d7f104cc9885b")
	knownData1    = digest.Digest("sha256:c2b5e234f5f38fc5864da7def04782f82501a40d46192e4207d5b3f0c3c4732b")
	knownDir      = digest.Digest("sha256:d47454417d2c554067fbefe5f5719edc49f3cfe969c36b62e34a187a4da0cc9a")
	knownDirLess  = digest.Digest("sha256:555ffa3028630d97ba37832b749eda85ab676fd64ffb629fbf0f4ec8c1e3bff1")
	knownSelected = digest.Digest("sha256:6b612ad5c13159112ae26357ef7bd34df29916941ba40ec2ce38dfb70c6c60c3")
	knownRoot     = digest.Digest("sha256:427c9cf9ae98c0f81fb57a3076b965c7c149b6b0a85625ad4e884236649a42c6")
	knownStars    = digest.Digest("sha256:aa7448215bbf5b837b35ce64467857d8b9747965573d14d4b31b370586370971")
	knownFs       = digest.Digest("sha256:0b6731924f0a32a812bf8a729202e55e54ded331f9e4ff2397f681e43694e086")
	knownLinked   = digest.Digest("sha256:982153600b9653a1decb0f961e09e2bc1be335cfcaac9b39dbd1120b65fdf92c")
)

func (f *fixture) digest(r *Ref, p string, o ContentOptions) digest.Digest {
	f.t.Helper()
	d, err := r.ContentDigest(f.t.Context(), p, o)
	if err != nil {
		f.t.Fatalf("digest of %q with %+v: %v", p, o, err)
	}
	return d
}

func TestContentDigestKnown(t *testing.T) {
	d0 := files{"abc": "data0", "def": "->abc", "ghi": "->nosuchfile"}
	under := func(dir string, fs files) files {
		out := files{}
		for p, v := range fs {
			out[dir+"/"+p] = v
		}
		return out
	}
	plus := func(a files, b files) files {
		out := maps.Clone(a)
		maps.Copy(out, b)
		return out
	}
	less := maps.Clone(d0)
	delete(less, "ghi")
	basic := plus(files{"foo": "data0", "bar": "data1"}, under("d0", d0))
	wild := plus(files{"bar": "data1", "foo": "data0", "fox": "data2", "y1": "->foo", "y2": "->fox"}, under("x/d0", d0))
	stars := files{"prefix/a/b/c/foo/bar": "abc"}
	follow := ContentOptions{FollowLinks: true}
	wildcard := ContentOptions{Wildcard: true}
	both := ContentOptions{FollowLinks: true, Wildcard: true}
	tests := []struct {
		tree files
		path string
		opt  ContentOptions
		want digest.Digest
	}{
		{basic, "foo", follow, knownData0},
		{basic, "/foo", follow, knownData0},
		{basic, "bar", follow, knownData1},
		{basic, "d0/abc", follow, knownData0},
		{basic, "d0/def", follow, knownData0},
		{basic, "d0", follow, knownDir},
		{basic, "/d0/", follow, knownDir},
		{basic, "/", follow, knownRoot},
		{d0, "/", follow, knownDir},
		{less, "", follow, knownDirLess},
		{wild, "f*o", wildcard, digest.FromString("\x00foo" + string(knownData0))},
		{wild, "f*", wildcard, knownFs},
		{wild, "x/d?", wildcard, knownSelected},
		{wild, "x/d?/def", both, knownData0},
		{wild, "y*", both, knownLinked},
		{wild, "nothing*", both, digest.FromString("")},
		{stars, "prefix/a", ContentOptions{Include: []string{"**/foo/**", "**/report"}}, knownStars},
		{stars, "prefix/a", ContentOptions{Include: []string{"**/foo", "**/report"}, Wildcard: true}, knownStars},
		{stars, "prefix/a", ContentOptions{Include: []string{"**/none/**"}}, digest.FromString("")},
	}
	f := newFixture(t, hostOptions{})
	for _, test := range tests {
		for _, layers := range []int{1, 3} {
			r := f.layered(test.tree, layers)
			if got := f.digest(r, test.path, test.opt); got != test.want {
				t.Errorf("%q %+v in %d layers: %s, want %s", test.path, test.opt, layers, got, test.want)
			}
			f.release(r)
		}
	}
}

// layered makes the tree in several layers, the lower ones of which hold other
// things too, which the upper ones take away again.
func (f *fixture) layered(tree files, layers int) *Ref {
	f.t.Helper()
	if layers == 1 {
		return f.layer(nil, tree)
	}
	paths := slices.Sorted(maps.Keys(tree))
	var r *Ref
	for i := range layers {
		fs := files{}
		for j, p := range paths {
			if j%layers == i {
				fs[p] = tree[p]
			} else if i < layers-1 && j%layers > i && !strings.HasPrefix(tree[p], "->") {
				fs[p] = "other " + p
			}
		}
		if i == 0 {
			fs["gone/x"], fs["gone2"] = "1", "2"
		}
		if i == layers-1 {
			fs["gone"], fs["gone2"] = "-", "-"
		}
		next := f.layer(r, fs)
		f.release(r)
		r = next
	}
	return r
}

func TestContentDigestSelections(t *testing.T) {
	f := newFixture(t, hostOptions{})
	one := f.layer(nil, files{"foo": "data0", "bar": "data1", "d0/abc": "abc", "d1/def": "def"})
	two := f.layer(one, files{"baz": "data2", "d0/xyz": "xyz", "d2": "/"})
	defer f.release(one, two)
	in := func(patterns ...string) ContentOptions { return ContentOptions{Include: patterns} }
	empty := digest.FromString("")
	tests := []struct {
		name string
		a, b digest.Digest
		same bool
	}{
		{"file", f.digest(one, "", in("foo")), f.digest(two, "", in("foo")), true},
		{"file is something", f.digest(one, "", in("foo")), empty, false},
		{"files", f.digest(one, "", in("foo", "bar")), f.digest(two, "", in("foo", "bar")), true},
		{"file and files", f.digest(one, "", in("foo")), f.digest(one, "", in("foo", "bar")), false},
		{"changed directory", f.digest(one, "", in("d0")), f.digest(two, "", in("d0")), false},
		{"unchanged directory", f.digest(one, "", in("d1")), f.digest(two, "", in("d1")), true},
		{"pattern in directory", f.digest(one, "", in("d0/*")), f.digest(two, "", in("d0/a*")), true},
		{"double star", f.digest(one, "", in("d0/*")), f.digest(two, "", in("**/abc")), true},
		{"exclude", f.digest(one, "", in("d0/*")), f.digest(two, "", ContentOptions{Include: []string{"d0/*"}, Exclude: []string{"d0/xyz"}}), true},
		{"nothing there", f.digest(two, "", in("d2/foo")), empty, true},
		{"nothing below", f.digest(two, "d2", in("foo")), empty, true},
		{"contents", f.digest(two, "/d0/", ContentOptions{Wildcard: true}), f.digest(two, "/d0", ContentOptions{Wildcard: true}), false},
		{"wildcard or not", f.digest(two, "", in("d0/*")), f.digest(two, "", ContentOptions{Include: []string{"d0/*"}, Wildcard: true}), true},
	}
	for _, test := range tests {
		if (test.a == test.b) != test.same {
			t.Errorf("%s: %s and %s, want same %v", test.name, test.a, test.b, test.same)
		}
	}
	if _, err := two.ContentDigest(t.Context(), "/d0", ContentOptions{Wildcard: true, Required: []string{"/d0/none"}}); !errdefs.IsNotFound(err) {
		t.Errorf("required path: %v", err)
	}
}

func TestContentDigestLinks(t *testing.T) {
	f := newFixture(t, hostOptions{})
	r := f.layer(nil, files{
		"data/d0/d1/foo": "abc", "mnt/data": "->../data", "data/to": "->d0", "abs": "->/data",
		"loop": "->loop", "up": "->../../../data/d0", "a/b": "->/a/b/c",
	})
	defer f.release(r)
	want := f.digest(r, "/data/d0", ContentOptions{})
	for _, p := range []string{"/mnt/data/d0", "/abs/d0", "/mnt/data/../data/d0"} {
		if got := f.digest(r, p, ContentOptions{}); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
	for _, p := range []string{"/abs/to", "/up"} {
		if got := f.digest(r, p, ContentOptions{FollowLinks: true}); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
		if got := f.digest(r, p, ContentOptions{}); got == want {
			t.Errorf("%s: link was followed", p)
		}
	}
	some := ContentOptions{Include: []string{"**/foo"}}
	if a, b := f.digest(r, "/data/d0", some), f.digest(r, "/mnt/data/d0", some); a != b {
		t.Errorf("selection through a link: %s, want %s", b, a)
	}
	for _, p := range []string{"/loop", "/a/b"} {
		if _, err := r.ContentDigest(t.Context(), p, ContentOptions{FollowLinks: true}); err == nil || !strings.Contains(err.Error(), "too many links") {
			t.Errorf("%s: %v", p, err)
		}
	}
	_, err := r.ContentDigest(t.Context(), "x/", ContentOptions{})
	if !errdefs.IsNotFound(err) || err.Error() != `"/x": not found` {
		t.Errorf("missing: %v", err)
	}
	var none *Ref
	if d, err := none.ContentDigest(t.Context(), "/", ContentOptions{}); err != nil || d != digest.FromBytes(nil) {
		t.Errorf("scratch: %s, %v", d, err)
	}
	if _, err := none.ContentDigest(t.Context(), "/x", ContentOptions{}); err == nil {
		t.Error("scratch has a file")
	}
}

// TestContentDigestStacked compares random histories with their outcome in a
// single layer: the digest must not tell how a tree was made.
func TestContentDigestStacked(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		rnd := rand.New(rand.NewPCG(1, 2))
		for round := range 6 {
			var r *Ref
			for range 4 {
				next := f.layer(r, randomChanges(rnd))
				f.release(r)
				r = next
			}
			flat := f.layer(nil, f.files(r))
			for _, o := range []ContentOptions{
				{Include: []string{"**"}, Exclude: []string{"a/b"}},
				{Wildcard: true},
			} {
				for _, p := range []string{"a*/", "b/"} {
					// Directories that became empty differ: compare files only.
					o.Include = []string{"**/f*", "**/l*"}
					if x, y := f.digest(r, p, o), f.digest(flat, p, o); x != y {
						t.Errorf("round %d: %s %+v: stacked %s, flat %s", round, p, o, x, y)
					}
				}
			}
			for p, v := range f.files(r) {
				if x, y := f.digest(r, p, ContentOptions{}), f.digest(flat, p, ContentOptions{}); x != y {
					t.Errorf("round %d: %s (%s): stacked %s, flat %s", round, p, v, x, y)
				}
			}
			f.release(r, flat)
		}
	})
}

func randomChanges(rnd *rand.Rand) files {
	fs := files{}
	dirs := []string{"a", "b", "a/b", "a/b/c", "ab"}
	for range 8 {
		dir := dirs[rnd.IntN(len(dirs))]
		n := rnd.IntN(4)
		switch rnd.IntN(6) {
		case 0:
			fs[dir] = "-"
		case 1:
			fs[fmt.Sprintf("%s/l%d", dir, n)] = fmt.Sprintf("->f%d", n)
		case 2:
			fs[fmt.Sprintf("%s/f%d", dir, n)] = "-"
		default:
			fs[fmt.Sprintf("%s/f%d", dir, n)] = fmt.Sprint(rnd.IntN(100))
		}
	}
	return fs
}

// TestContentDigestOfNothing: the empty file system has only its root.
func TestContentDigestOfNothing(t *testing.T) {
	var nothing *Ref
	if _, err := nothing.ContentDigest(t.Context(), "/", ContentOptions{}); err != nil {
		t.Error(err)
	}
	_, err := nothing.ContentDigest(t.Context(), "/a", ContentOptions{})
	if !errdefs.IsNotFound(err) || !strings.HasPrefix(err.Error(), "/a: no such file or directory") {
		t.Errorf("missing path: %v", err)
	}
}

// TestContentDigestOfClientDirectory: a client does not send the directory
// itself, so that its attributes here are an accident.
func TestContentDigestOfClientDirectory(t *testing.T) {
	f := newFixture(t, hostOptions{})
	plain := f.layer(nil, files{"a": "1"})
	sent := f.layer(nil, files{"a": "1"}, WithRecordType(TypeLocal))
	again := f.layer(sent, files{"b": "2"}, WithRecordType(TypeLocal))
	if f.digest(plain, "/a", ContentOptions{}) != f.digest(sent, "/a", ContentOptions{}) {
		t.Error("files differ")
	}
	h := sha256.New()
	h.Write([]byte("\x00" + digest.FromBytes(nil).String() + "\x00a" + f.digest(sent, "/a", ContentOptions{}).String()))
	want := digest.NewDigest(digest.SHA256, h)
	if got := f.digest(sent, "/", ContentOptions{}); got != want {
		t.Errorf("root is %s, want %s", got, want)
	}
	if got := f.digest(plain, "/", ContentOptions{}); got == want {
		t.Error("the attributes of a directory that was not sent do not count")
	}
	if f.digest(again, "/", ContentOptions{}) == want {
		t.Error("a file more makes no difference")
	}
}
