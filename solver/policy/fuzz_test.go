package policy

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

// FuzzApply feeds policies as they arrive. Whatever they are, evaluating them
// ends, what comes out is bounded, and a second look changes nothing.
func FuzzApply(f *testing.F) {
	for _, p := range []*spb.Policy{
		rules(),
		rules(nil),
		rules(allow("*"), deny("docker-image://*")),
		rules(convert(wild, "x://*/*", "x://$2/$1")),
		rules(convert(regex, "(a|b)*", "${1}${1}"), when(deny("*"), "k", spb.AttrMatch_MATCHES, "^v+$")),
		rules(convert(exact, "x://a", "x://b", "k", "v")),
	} {
		data, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "x://a/b", "v")
	}
	f.Fuzz(func(t *testing.T, data []byte, id, value string) {
		p := &spb.Policy{}
		if proto.Unmarshal(data, p) != nil || len(id) > maxIdentifier {
			return
		}
		set, err := Compile(p)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatalf("%v is of no kind", err)
			}
			return
		}
		op := &pb.SourceOp{Identifier: id, Attrs: map[string]string{"k": value}}
		_, err = set.Apply(t.Context(), op)
		if len(op.Identifier) > maxIdentifier {
			t.Fatalf("identifier has %d bytes", len(op.Identifier))
		}
		if err != nil {
			if !errors.Is(err, ErrDenied) && !errdefs.IsInvalidArgument(err) {
				t.Fatalf("%v is of no kind", err)
			}
			return
		}
		if changed, err := set.Apply(t.Context(), op); changed || err != nil {
			t.Fatalf("second look: %v, %v", changed, err)
		}
	})
}
