package attest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/attest"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
)

const hexa = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// say is an attestation that the builder made.
func say(predicate string) export.Attestation {
	return export.Attestation{
		PredicateType: "https://example.com/p", Path: "p.json",
		Data: func(context.Context, []ocispecs.Descriptor) ([]byte, error) { return []byte(predicate), nil },
	}
}

func TestStatement(t *testing.T) {
	self := []attest.Subject{attest.NewSubject("own", "sha256:"+hexa)}
	for name, tc := range map[string]struct {
		subjects []export.Subject
		want     string
	}{
		"none":  {nil, `[{"name":"own","digest":{"sha256":"` + hexa + `"}}]`},
		"named": {[]export.Subject{{Self: true, Name: "x"}}, `[{"name":"own","digest":{"sha256":"` + hexa + `"}},{"name":"x","digest":{"sha256":"` + hexa + `"}}]`},
		"raw":   {[]export.Subject{{Digests: []digest.Digest{"sha512:ab"}}}, `[{"name":"_","digest":{"sha512":"ab"}}]`},
	} {
		a := say(`{"k": 1}`)
		a.Subjects = tc.subjects
		docs, err := attest.Open(t.Context(), []export.Attestation{a}, nil)
		if err != nil || len(docs) != 1 {
			t.Fatalf("%s: %v, %v", name, docs, err)
		}
		data, err := json.Marshal(docs[0].Statement(self))
		want := `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.com/p","subject":` + tc.want + `,"predicate":{"k":1}}`
		if string(data) != want || err != nil {
			t.Errorf("%s:\n got %s, %v\nwant %s", name, data, err, want)
		}
	}
	docs, err := attest.Open(t.Context(), []export.Attestation{say("")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := json.Marshal(docs[0].Statement(nil)); err != nil || !strings.HasSuffix(string(data), `"subject":[],"predicate":null}`) {
		t.Errorf("an empty predicate: %s, %v", data, err)
	}
}

func TestBundle(t *testing.T) {
	h := exporttest.NewHost(t)
	statement := func(kind string) string {
		return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":[{"name":"s","digest":{"sha256":%q}}],"predicate":{"of":%q}}`,
			kind, hexa, kind)
	}
	bundle := export.Attestation{
		Bundle: true, Path: "sbom", Metadata: map[string][]byte{attest.MetaCore: []byte("image")},
		Ref: h.Ref(nil, exporttest.Files{"sbom/build.spdx.json": statement("a"), "sbom/image.spdx.json": statement("b")}),
	}
	docs, err := attest.Open(t.Context(), []export.Attestation{say("1"), bundle}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, d := range docs {
		paths = append(paths, d.Path)
	}
	if want := []string{"sbom/image.spdx.json", "p.json", "sbom/build.spdx.json"}; !slices.Equal(paths, want) {
		t.Errorf("order is %q", paths)
	}
	s := docs[0].Statement(nil)
	if s.PredicateType != "b" || string(s.Predicate) != `{"of":"b"}` || len(s.Subject) != 1 || s.Subject[0].Digest["sha256"] != hexa {
		t.Errorf("statement is %+v", s)
	}
	for want, change := range map[string]func(*export.Attestation){
		"bundle entry b does not match required predicate type a": func(a *export.Attestation) { a.PredicateType = "a" },
		"no ref provided for attestation bundle":                  func(a *export.Attestation) { a.Ref = nil },
		"attestation bundle cannot have callback":                 func(a *export.Attestation) { a.Data = say("").Data },
		"read attestation bundle":                                 func(a *export.Attestation) { a.Path = "gone" },
		"frontend may not bundle provenance attestations": func(a *export.Attestation) {
			a.Ref = h.Ref(nil, exporttest.Files{"sbom/x": statement("https://slsa.dev/provenance/v1")})
		},
		"cannot decode in-toto statement":               func(a *export.Attestation) { a.Ref = h.Ref(nil, exporttest.Files{"sbom/x": "{"}) },
		"in-toto statement is not a single JSON object": func(a *export.Attestation) { a.Ref = h.Ref(nil, exporttest.Files{"sbom/x": statement("a") + "1"}) },
		"not a regular file":                            func(a *export.Attestation) { a.Ref = h.Ref(nil, exporttest.Files{"sbom/x/y": "1"}) },
	} {
		b := bundle
		change(&b)
		if _, err := attest.Open(t.Context(), []export.Attestation{b}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestRefused(t *testing.T) {
	h := exporttest.NewHost(t)
	files := h.Ref(nil, exporttest.Files{"p": "{}", "bad": "{", "out": "->/../../../etc/hostname"})
	for want, a := range map[string]export.Attestation{
		"attestation does not have set path":             {Ref: files},
		"attestation does not have available content":    {Path: "p"},
		"frontend may not set provenance attestations":   {Path: "p", Ref: files, PredicateType: "https://slsa.dev/provenance/v0.2"},
		"in-toto attestation bad is not JSON":            {Path: "bad", Ref: files},
		"cannot read in-toto attestation out":            {Path: "out", Ref: files},
		"cannot read in-toto attestation ../../etc/none": {Path: "../../etc/none", Ref: files},
	} {
		if _, err := attest.Open(t.Context(), []export.Attestation{a}, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestSelect(t *testing.T) {
	list := []export.Attestation{{Path: "a", InlineOnly: true}, {Path: "b"}}
	if got := attest.Select(list, false); len(got) != 1 || got[0].Path != "b" {
		t.Errorf("without inline ones: %+v", got)
	}
	if got := attest.Select(list, true); len(got) != 2 {
		t.Errorf("all: %+v", got)
	}
}

func TestImageSubjects(t *testing.T) {
	p := ocispecs.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	got, err := attest.ImageSubjects("app,docker.io/x/y:1,r.test:5000/a/b@sha256:"+hexa+",", p, "sha256:"+hexa)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"pkg:docker/app@latest?platform=linux%2Farm64", "pkg:docker/x/y@1?platform=linux%2Farm64",
		"pkg:docker/r.test%3A5000/a/b?digest=sha256:" + hexa + "&platform=linux%2Farm64",
	}
	var names []string
	for _, s := range got {
		names = append(names, s.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("subjects are %q", names)
	}
	if _, err := attest.ImageSubjects("UPPER", p, ""); err == nil {
		t.Error("a name that is none")
	}
}
