package git

import (
	"testing"

	"github.com/kilnbuild/kiln/solver/source"
)

// However a repository is written, a rule about it is found.
func TestNormalize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ ref, full, want string }{
		{ref: "github.com/a/b.git", want: "github.com/a/b.git"},
		{ref: "github.com/a/b.git#main:../x/./y", want: "github.com/a/b.git#main:x/y"},
		{ref: "github.com/a/b.git#:x", want: "github.com/a/b.git#:x"},
		{ref: "github.com/a/b.git#main:/", want: "github.com/a/b.git#main"},
		{ref: "GitHub.com//a/../a/b.git/", want: "github.com/a/b.git"},
		{ref: "x/y#v1", full: "https://me:pw@github.com:8443/a/b.git", want: "github.com:8443/a/b.git#v1"},
		{ref: "x/y#v1", full: "git@github.com:a/b.git", want: "github.com/a/b.git#v1"},
		{ref: "x/y", full: "ssh://git@github.com/a/b.git", want: "github.com/a/b.git"},
		{ref: "x/y", full: "file:///etc"},
		{ref: ""},
	} {
		id := source.Identifier{Scheme: "git", Ref: c.ref, Attrs: map[string]string{attrFullURL: c.full}}
		got, err := (&Source{}).Normalize(id)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s, %s: %q %v, want %q", c.ref, c.full, got, err, c.want)
		}
		id = source.Identifier{Scheme: "git", Ref: got}
		if again, err := (&Source{}).Normalize(id); c.want != "" && c.full == "" && (again != got || err != nil) {
			t.Errorf("%s becomes %s: %v", got, again, err)
		}
	}
}
