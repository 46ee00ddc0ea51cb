package file

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

func keysOf(t *testing.T, inputs int, actions ...*pb.FileAction) solver.KeySpec {
	t.Helper()
	op, err := New(Config{}, &pb.FileOp{Actions: actions}, inputs, "")
	if err != nil {
		t.Fatal(err)
	}
	spec, err := op.Keys(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Inputs) != inputs {
		t.Fatalf("%d input keys", len(spec.Inputs))
	}
	return spec
}

// TestKeyFormat pins the bytes that are hashed: remote caches are keyed by them.
func TestKeyFormat(t *testing.T) {
	plain := func(src, dest string) *pb.FileAction {
		return &pb.FileAction{SecondaryInput: 1, Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: src, Dest: dest, Mode: -1, Timestamp: -1}}}
	}
	for name, test := range map[string]struct {
		inputs  int
		actions []*pb.FileAction
		json    []string
		indexes string
	}{
		"copy": {2, chained(2, plain("/dir/src/", "/dest")), []string{`{"src":"src","dest":"/dest","mode":-1,"timestamp":-1}`}, ""},
		"two copies, as many as inputs": {
			2, chained(2, plain("a/b", "/d"), plain("c", "/d")),
			[]string{`{"src":"b","dest":"/d","mode":-1,"timestamp":-1}`, `{"src":"c","dest":"/d","mode":-1,"timestamp":-1}`}, "",
		},
		"mkdir": {1, chained(1, mkdirOf("/d")), []string{`{"path":"/d","mode":493,"timestamp":-1}`}, ""},
		"chain on one input": {
			1, chained(1, mkdirOf("/d"), mkfileOf("/d/f", "x")),
			[]string{`{"path":"/d","mode":493,"timestamp":-1}`, `{"path":"/d/f","mode":420,"data":"eA==","timestamp":-1}`},
			`,"indexes":[[0,-1,-1],[1,-1,0]]`,
		},
		"rm": {1, chained(1, rmOf("/x", true, false)), []string{`{"path":"/x","allowWildcard":true}`}, ""},
		"owner": {1, chained(1, mkdirOf("/d", func(a *pb.FileActionMkDir) { a.Owner = named("u", "", 0) })), []string{
			`{"path":"/d","mode":493,"owner":{"user":{"User":{"byName":{"name":"u"}}}},"timestamp":-1}`,
		}, ""},
	} {
		var actions []string
		for _, j := range test.json {
			actions = append(actions, `"`+base64.StdEncoding.EncodeToString([]byte(j))+`"`)
		}
		want := fmt.Sprintf(`{"Type":"buildkit.file.v0","Actions":[%s]%s}`, strings.Join(actions, ","), test.indexes)
		if got := keysOf(t, test.inputs, test.actions...).Digest; got != digest.FromString(want) {
			t.Errorf("%s: key is not the digest of %s", name, want)
		}
	}
}

// TestKeyInputs checks what of each input counts.
func TestKeyInputs(t *testing.T) {
	spec := keysOf(t, 2, chained(2, copyOf("a/b", "/"), copyOf("/z", "/"))...)
	if spec.Inputs[0].Content != nil || spec.Inputs[0].Selector != "" {
		t.Error("an input that is changed counts as a whole")
	}
	if spec.Inputs[1].Content == nil || spec.Inputs[1].Selector != digest.FromString("a/b\x00/z") {
		t.Error("a source counts by content, under its paths in descending order")
	}
	same := copyOf("a", "/b")
	same.SecondaryInput = 0
	if spec := keysOf(t, 1, chained(1, same)...); spec.Inputs[0].Content != nil {
		t.Error("a source that is changed too counts as a whole")
	}
	users := mkdirOf("/d", func(a *pb.FileActionMkDir) { a.Owner = named("u", "g", 1) })
	if spec := keysOf(t, 2, chained(2, users)...); spec.Inputs[1].Selector != digest.FromString("/etc/passwd\x00/etc/group") {
		t.Error("names count by the files they are in")
	}
	link := symlinkOf("a", "/b")
	link.GetSymlink().Owner = named("u", "", 1)
	if spec := keysOf(t, 2, chained(2, link)...); spec.Inputs[1].Content != nil {
		t.Error("the names of a link's owner count as a whole")
	}
}

// TestKeyContent checks that content keys see what is copied and nothing else.
func TestKeyContent(t *testing.T) {
	w := newWorld(t)
	one := w.files(nil, "d/a:A", "d/b:B", "other:1")
	two := w.files(w.files(nil, "d/a:A", "x:x"), "d/b:B", "other:2")
	changed := w.files(nil, "d/a:A", "d/b:changed", "other:1")
	content := func(a *pb.FileAction, r *ref.Ref) (digest.Digest, error) {
		var res solver.Result
		if r != nil {
			res = r
		}
		return keysOf(t, 2, chained(2, a)...).Inputs[1].Content(context.Background(), nil, res)
	}
	for name, a := range map[string]*pb.FileAction{
		"path": copyOf("/d", "/"), "wildcard": copyOf("d/*", "/"), "include": copyOf("/", "/", include("d")),
	} {
		x, err1 := content(a, one)
		y, err2 := content(a, two)
		z, err3 := content(a, changed)
		if err1 != nil || err2 != nil || err3 != nil || x != y || x == z {
			t.Errorf("%s: %s %s %s (%v %v %v)", name, x, y, z, err1, err2, err3)
		}
	}
	if d, err := content(copyOf("/d/a", "/"), one); err != nil || d != digest.FromString(string(w.contentDigest(one, "/d/a"))) {
		t.Errorf("a single path is the digest of its digest: %s, %v", d, err)
	}
	_, err := content(copyOf("/nope", "/"), one)
	if want := fmt.Sprintf(`failed to calculate checksum of ref %s: "/nope": not found`, one.ID()); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	required := copyOf("/", "/", include("d"), func(c *pb.FileActionCopy) { c.RequiredPaths = []string{"/zz"} })
	if _, err := content(required, one); err == nil || !strings.Contains(err.Error(), `"/zz": not found`) {
		t.Error("a required path that is missing:", err)
	}
}

func (w *world) contentDigest(r *ref.Ref, p string) digest.Digest {
	w.t.Helper()
	d, err := r.ContentDigest(context.Background(), p, ref.ContentOptions{FollowLinks: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func TestTopmost(t *testing.T) {
	list := []selector{
		{path: "/b/c"}, {path: "/b"}, {path: "/b"}, {path: "/bc"}, {path: "/a/", opt: ref.ContentOptions{FollowLinks: true}},
		{path: "/a/x", opt: ref.ContentOptions{FollowLinks: true}}, {path: "/b/*", opt: ref.ContentOptions{Wildcard: true}},
	}
	var got []string
	for _, s := range topmost(list) {
		got = append(got, s.path)
	}
	if want := "/a/ /b /b/* /bc"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %s", got, want)
	}
}
