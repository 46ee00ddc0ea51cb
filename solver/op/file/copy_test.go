package file

import (
	"slices"
	"strings"
	"testing"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// The two ways to write; every table runs on both.
var ways = map[string]Config{"linked": {}, "mounted": {NoLinks: true}}

type copyFlags = func(*pb.FileActionCopy)

func noContents(c *pb.FileActionCopy) { c.DirCopyContents = false }
func noFollow(c *pb.FileActionCopy)   { c.FollowSymlink = false }
func noWildcard(c *pb.FileActionCopy) { c.AllowWildcard = false }
func noParents(c *pb.FileActionCopy)  { c.CreateDestPath = false }
func emptyOK(c *pb.FileActionCopy)    { c.AllowEmptyWildcard = true }
func replacing(c *pb.FileActionCopy)  { c.AlwaysReplaceExistingDestPaths = true }
func mode(m int32) copyFlags          { return func(c *pb.FileActionCopy) { c.Mode = m } }
func modeText(m string) copyFlags     { return func(c *pb.FileActionCopy) { c.ModeStr = m } }
func include(p ...string) copyFlags   { return func(c *pb.FileActionCopy) { c.IncludePatterns = p } }
func exclude(p ...string) copyFlags   { return func(c *pb.FileActionCopy) { c.ExcludePatterns = p } }
func byID(uid, gid uint32) copyFlags {
	return func(c *pb.FileActionCopy) {
		c.Owner = &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByID{ByID: uid}}, Group: &pb.UserOpt{User: &pb.UserOpt_ByID{ByID: gid}}}
	}
}

func TestCopy(t *testing.T) {
	w := newWorld(t)
	source := w.files(w.files(nil, "d/", "f:old", "d/low:1"),
		"f:F", "04755 3:4 suid:S", "d/a:A", "d/b.txt:B", "d/sub/c:C", "0750 5:6 d/sub/deep/x:X", "0700 7:7 d/empty/",
		"l->f", "ld->d", "dangling->nowhere", "up->../../f", "pipe|", "h/1:H", "h/2=h/1", "h/sub/3=h/1",
		"out->/etc", "w/x1/f:1", "w/x2/f:2", "w/x3:3", "tree/f/x:dir")
	base := w.files(w.files(nil, "low/f:lower", "0711 8:9 low/dir/x:keep", "etc/passwd:me"),
		"e/f:existing", "link->e", "abs->/e", "file:file", "self->self")
	baseFiles := w.describe(base)
	tests := map[string]struct {
		src, dest string
		flags     []copyFlags
		// want are the lines that are new; "-" before those that are gone.
		want []string
		err  string
	}{
		"file to file":             {"f", "/new", nil, []string{"new:F"}, ""},
		"file to dir":              {"/f", "/e/", nil, []string{"e/f:F", "-e/f:existing"}, ""},
		"file into existing dir":   {"/f", "/low", nil, []string{"low/f:F", "-low/f:lower"}, ""},
		"parents":                  {"f", "/n/o/p", nil, []string{"n/", "n/o/", "n/o/p:F"}, ""},
		"parents with owner":       {"f", "/n/o/", []copyFlags{byID(1, 2)}, []string{"0755 1:2 n/", "0755 1:2 n/o/", "0644 1:2 n/o/f:F"}, ""},
		"no parents":               {"f", "/n/o", []copyFlags{noParents}, nil, "failed to stat /n/o: lstat /n: no such file or directory"},
		"contents to new":          {"d", "/x", nil, []string{"x/", "x/a:A", "x/b.txt:B", "x/sub/", "x/sub/c:C", "x/sub/deep/", "0750 5:6 x/sub/deep/x:X", "0700 7:7 x/empty/", "x/low:1"}, ""},
		"dir to new":               {"d/sub", "/x", []copyFlags{noContents}, []string{"x/", "x/c:C", "x/deep/", "0750 5:6 x/deep/x:X"}, ""},
		"dir into dir":             {"d/sub", "/e", []copyFlags{noContents}, []string{"e/sub/", "e/sub/c:C", "e/sub/deep/", "0750 5:6 e/sub/deep/x:X"}, ""},
		"dir with dot":             {"d/sub/.", "/e", []copyFlags{noContents, noWildcard}, []string{"e/c:C", "e/deep/", "0750 5:6 e/deep/x:X"}, ""},
		"dir merged":               {"tree", "/e", []copyFlags{noContents}, []string{"e/tree/", "e/tree/f/", "e/tree/f/x:dir"}, ""},
		"dir keeps existing":       {"d/sub", "/low/dir", nil, []string{"low/dir/c:C", "low/dir/deep/", "0750 5:6 low/dir/deep/x:X"}, ""},
		"dir onto file":            {"d", "/file", nil, nil, "cannot copy to non-directory: /file"},
		"dir into file":            {"d", "/file", []copyFlags{noContents}, nil, "mkdir /file: not a directory"},
		"below file":               {"f", "/file/x", nil, nil, "mkdir /file: not a directory"},
		"inner dir onto file":      {"tree", "/e", nil, nil, "cannot copy to non-directory: /e/f"},
		"replace by dir":           {"tree", "/e", []copyFlags{replacing}, []string{"-e/f:existing", "e/f/", "e/f/x:dir"}, ""},
		"replace dir by file":      {"w/x1", "/low", []copyFlags{replacing, include("f")}, []string{"low/f:1", "-low/f:lower"}, ""},
		"file onto dir":            {"h", "/n", []copyFlags{include("1")}, []string{"n/", "n/1:H"}, ""},
		"missing":                  {"nope", "/x", nil, nil, "lstat /nope: no such file or directory"},
		"wildcard":                 {"d/*.txt", "/e/", nil, []string{"e/b.txt:B"}, ""},
		"wildcard dirs":            {"w/x?/f", "/e/", nil, []string{"e/f:2", "-e/f:existing"}, ""},
		"wildcard mixed":           {"w/x*", "/x/", nil, []string{"x/", "x/f:2", "x/x3:3"}, ""},
		"wildcard through link":    {"ld/b*", "/x/", nil, []string{"x/", "x/b.txt:B"}, ""},
		"wildcard none":            {"nope*", "/x", nil, nil, "/nope* not found"},
		"wildcard none allowed":    {"nope*", "/x", []copyFlags{emptyOK}, nil, ""},
		"wildcard no dir":          {"nope/*", "/x", nil, nil, "lstat /nope: no such file or directory"},
		"malformed":                {"[", "/x", nil, nil, "/[ not found"},
		"link followed":            {"l", "/x", nil, []string{"x:F"}, ""},
		"link kept":                {"l", "/x", []copyFlags{noFollow}, []string{"x->f"}, ""},
		"dir link followed":        {"ld", "/x", []copyFlags{include("a")}, []string{"x/", "x/a:A"}, ""},
		"dir link kept":            {"ld", "/x/", []copyFlags{noFollow}, []string{"x/", "x/ld->d"}, ""},
		"dangling followed":        {"dangling", "/x", nil, nil, "lstat /nowhere: no such file or directory"},
		"dangling kept":            {"dangling", "/x", []copyFlags{noFollow}, []string{"x->nowhere"}, ""},
		"link to above":            {"up", "/x", nil, []string{"x:F"}, ""},
		"link out":                 {"out/hostname", "/x", nil, nil, "lstat /etc/hostname: no such file or directory"},
		"dest link":                {"f", "/link/g", nil, []string{"e/g:F"}, ""},
		"dest absolute link":       {"d/sub", "/abs/", nil, []string{"e/c:C", "e/deep/", "0750 5:6 e/deep/x:X"}, ""},
		"dest loop":                {"f", "/self/x", nil, nil, "too many levels of symbolic links"},
		"dest above root":          {"f", "../../../x", nil, []string{"x:F"}, ""},
		"pipe":                     {"pipe", "/x", nil, []string{"x|"}, ""},
		"hard links":               {"h", "/h", nil, []string{"h/", "h/1:H", "h/2=h/1", "h/sub/", "h/sub/3=h/2"}, ""},
		"owner kept":               {"suid", "/x", nil, []string{"04755 3:4 x:S"}, ""},
		"setuid after chown":       {"suid", "/x", []copyFlags{byID(9, 9)}, []string{"04755 9:9 x:S"}, ""},
		"mode":                     {"d/sub", "/x", []copyFlags{mode(0o6711)}, []string{"0711 0:0 x/", "06711 0:0 x/c:C", "06711 0:0 x/deep/", "06711 5:6 x/deep/x:X"}, ""},
		"mode text":                {"d/sub", "/x", []copyFlags{modeText("go-rx,u+X")}, []string{"x/", "0600 0:0 x/c:C", "0700 0:0 x/deep/", "0700 5:6 x/deep/x:X"}, ""},
		"include":                  {"d", "/x", []copyFlags{include("sub/deep", "b*")}, []string{"x/", "x/b.txt:B", "x/sub/", "x/sub/deep/", "0750 5:6 x/sub/deep/x:X"}, ""},
		"include deep only":        {"/", "/x", []copyFlags{include("**/deep/*")}, []string{"x/", "x/d/", "x/d/sub/", "x/d/sub/deep/", "0750 5:6 x/d/sub/deep/x:X"}, ""},
		"exclude":                  {"d", "/x", []copyFlags{exclude("sub", "*.txt", "empty", "low")}, []string{"x/", "x/a:A"}, ""},
		"exclude with exception":   {"d", "/x", []copyFlags{exclude("*", "!sub/c")}, []string{"x/", "x/sub/", "x/sub/c:C"}, ""},
		"include and exclude":      {"d", "/x", []copyFlags{include("sub"), exclude("**/deep")}, []string{"x/", "x/sub/", "x/sub/c:C"}, ""},
		"parent mode not of mkdir": {"f", "/n/", []copyFlags{mode(0o640)}, []string{"0640 0:0 n/", "0640 0:0 n/f:F"}, ""},
	}
	for name, test := range tests {
		for way, cfg := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				out, err := w.do(cfg, []*ref.Ref{base, source}, chained(2, copyOf(test.src, test.dest, test.flags...))...)
				if test.err != "" {
					if err == nil || !strings.Contains(err.Error(), test.err) {
						t.Fatalf("error %v, want %s", err, test.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := slices.Clone(baseFiles)
				for _, l := range test.want {
					if gone, ok := strings.CutPrefix(l, "-"); ok {
						want = slices.DeleteFunc(want, func(x string) bool { return x == gone })
					} else {
						want = append(want, l)
					}
				}
				slices.Sort(want)
				if got := w.describe(out[0]); !slices.Equal(got, want) {
					t.Errorf("tree is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			})
		}
	}
}
