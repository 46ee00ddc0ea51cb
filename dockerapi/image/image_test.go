package image_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/dockerapi/image"
	"github.com/kilnbuild/kiln/dockerapi/imagestore"
)

func TestNamesAndIDs(t *testing.T) {
	a := newAPI(t)
	id := a.imported("demo:1", "one", "LABEL a=b", "CMD echo hi", "ENV X=1", "EXPOSE 80", "WORKDIR /w")
	a.do(http.MethodPost, "/images/demo:1/tag", nil, "repo", "r.test:5000/team/demo", "tag", "x").want(http.StatusCreated)
	hex := strings.TrimPrefix(id, "sha256:")
	for _, name := range []string{"demo:1", "docker.io/library/demo:1", id, hex, hex[:12], "sha256:" + hex[:7], "demo@" + id, "r.test:5000/team/demo:x"} {
		a.do(http.MethodGet, "/images/"+name+"/json", nil).want(http.StatusOK, `"Id":"`+id+`"`)
	}
	for name, text := range map[string]string{
		"demo":        "No such image: demo:latest",
		"nope:2":      "No such image: nope:2",
		"other@" + id: "No such image: other@" + id,
		"0123456":     "No such image: 0123456:latest",
	} {
		a.do(http.MethodGet, "/images/"+name+"/json", nil).want(http.StatusNotFound, text)
		a.do(http.MethodGet, "/images/"+name+"/history", nil).want(http.StatusNotFound, text)
		a.do(http.MethodDelete, "/images/"+name, nil).want(http.StatusNotFound, text)
	}
	a.do(http.MethodGet, "/images/Upper:Case:/json", nil).want(http.StatusBadRequest, "invalid reference format")
	got := a.tags()
	slices.Sort(got)
	if want := []string{"demo:1", "r.test:5000/team/demo:x"}; !slices.Equal(got, want) {
		t.Errorf("tags %v, want %v", got, want)
	}
}

func TestAmbiguousID(t *testing.T) {
	a := newAPI(t)
	id := digest.Digest(a.imported("demo:1", "one"))
	im, err := a.host.Images.Get(a.host.Context(), "docker.io/library/demo:1")
	if err != nil {
		t.Fatal(err)
	}
	// Another id with the same beginning.
	other := im.Target
	other.Digest = digest.NewDigestFromEncoded(digest.SHA256, id.Encoded()[:20]+strings.Repeat("0", 44))
	if _, err := a.host.Images.Create(a.host.Context(), images.Image{Name: "x.test/other:1", Target: other}); err != nil {
		t.Fatal(err)
	}
	a.do(http.MethodGet, "/images/"+id.Encoded()[:12]+"/json", nil).want(http.StatusConflict, "ambiguous")
	a.do(http.MethodGet, "/images/"+id.Encoded()[:24]+"/json", nil).want(http.StatusOK)
}

func TestInspectVersions(t *testing.T) {
	a := newAPI(t)
	a.imported("demo:1", "one", "LABEL a=b", "CMD echo hi", "EXPOSE 80-81/udp", `ENV A=1`, `ENV B=$A`)
	r := a.do(http.MethodGet, "/images/demo:1/json", nil).want(http.StatusOK, `"Cmd":["/bin/sh","-c","echo hi"]`, `"80/udp":{}`, `"81/udp":{}`,
		`"B=1"`, `"Labels":{"a":"b"}`, `"Entrypoint":null`, `"Descriptor"`, `"Comment":"Imported from -"`, `"Type":"layers"`)
	r.lacks("Hostname", "VirtualSize", "Manifests")
	a.do(http.MethodGet, "/v1.49/images/demo:1/json", nil).want(http.StatusOK, `"Hostname":""`, `"Descriptor"`)
	a.do(http.MethodGet, "/v1.43/images/demo:1/json", nil).want(http.StatusOK, "VirtualSize").lacks("Descriptor")
	a.do(http.MethodGet, "/images/demo:1/json", nil, "manifests", "1").want(http.StatusOK, `"Kind":"image"`)
	a.do(http.MethodGet, "/images/demo:1/json", nil, "manifests", "1", "platform", `{"os":"linux","architecture":"amd64"}`).
		want(http.StatusBadRequest, "cannot both be set")
	a.do(http.MethodGet, "/images/demo:1/json", nil, "platform", `{"os":"linux","architecture":"s390x"}`).
		want(http.StatusNotFound, "does not provide the specified platform (linux/s390x)")
	a.do(http.MethodGet, "/images/demo:1/json", nil, "platform", `{"os":"linux"}`).want(http.StatusBadRequest, "both OS and Architecture")
	a.do(http.MethodGet, "/images/demo:1/json", nil, "platform", `linux/amd64`).want(http.StatusBadRequest, "failed to parse platform")
	a.do(http.MethodGet, "/images/demo:1/history", nil).want(http.StatusOK, `"Tags":["demo:1"]`, `"Comment":"Imported from -"`)
}

func TestListVersionsAndFilters(t *testing.T) {
	a := newAPI(t)
	first := a.imported("demo:1", "one", "LABEL a=b", "LABEL c=d")
	a.imported("", "two")
	a.imported("r.test/x:1", "three", "LABEL a=c")
	if got := a.tags("filters", `{"dangling":["true"]}`); len(got) != 1 || !strings.HasPrefix(got[0], "sha256:") {
		t.Errorf("dangling images %v", got)
	}
	for filter, want := range map[string][]string{
		`{"dangling":["false"]}`:                     {"demo:1", "r.test/x:1"},
		`{"label":{"a":true}}`:                       {"demo:1", "r.test/x:1"},
		`{"label":["a=b","c"]}`:                      {"demo:1"},
		`{"label":["a"],"label!":["a=b"]}`:           {"r.test/x:1"},
		`{"reference":["demo"]}`:                     {"demo:1"},
		`{"reference":["r.test/*:1","none"]}`:        {"r.test/x:1"},
		`{"since":["demo:1"],"dangling":["0"]}`:      {"r.test/x:1"},
		`{"before":["r.test/x:1"],"label":["a"]}`:    {"demo:1"},
		`{"until":["2000-01-01"]}`:                   {},
		`{"until":["1h"]}`:                           {},
		`{"until":["4102444800"],"label":["a=b"]}`:   {"demo:1"},
		`{"before":["` + first + `"],"label":["a"]}`: {},
	} {
		got := a.tags("filters", filter)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
	for filter, text := range map[string]string{
		`{"bad":["x"]}`: "invalid filter 'bad'", `{"dangling":["maybe"]}`: "invalid filter 'dangling=[maybe]'",
		`[`: "invalid filter", `{"reference":["[a"]}`: "invalid filter 'reference=[a'", `{"until":["soon"]}`: "invalid filter 'until=[soon]'",
	} {
		a.do(http.MethodGet, "/images/json", nil, "filters", filter).want(http.StatusBadRequest, text)
	}
	a.do(http.MethodGet, "/images/json", nil, "filters", `{"since":["nope"]}`).want(http.StatusNotFound, "No such image: nope:latest")
	a.do(http.MethodGet, "/v1.42/images/json", nil).want(http.StatusOK, "<none>:<none>", "VirtualSize", `"Containers":-1`).lacks("Descriptor")
	a.do(http.MethodGet, "/images/json", nil, "manifests", "1", "shared-size", "1").want(http.StatusOK, `"Manifests"`, `"SharedSize":0`, `"Containers":0`, `"Descriptor"`)
	if got := a.tags(); len(got) != 3 {
		t.Errorf("all images %v", got)
	}
	list := into[[]image.Summary](a.do(http.MethodGet, "/v1.40/images/json", nil, "filter", "demo"))
	if len(list) != 1 || list[0].ID != first || list[0].Size == 0 || list[0].Labels["a"] != "b" {
		t.Errorf("listed %+v", list)
	}
}

func TestTagMovesOn(t *testing.T) {
	a := newAPI(t)
	one, two := a.imported("demo:1", "one"), a.imported("demo:2", "two")
	a.do(http.MethodPost, "/images/demo:2/tag", nil, "repo", "demo", "tag", "1").want(http.StatusCreated)
	if got := a.tags("filters", `{"dangling":["true"]}`); !slices.Equal(got, []string{one}) {
		t.Errorf("dangling %v, want %s", got, one)
	}
	// A name for it again, and it dangles no more.
	a.do(http.MethodPost, "/images/"+one+"/tag", nil, "repo", "back").want(http.StatusCreated)
	if got := a.tags("filters", `{"dangling":["true"]}`); len(got) > 0 {
		t.Errorf("dangling %v", got)
	}
	a.do(http.MethodGet, "/images/demo:1/json", nil).want(http.StatusOK, two)
	for query, text := range map[[2]string]string{
		{"sha256", "x"}: "refusing to create an ambiguous tag", {"UP", "x"}: "must be lowercase",
		{"demo", "a b"}: "invalid tag format", {"", ""}: "invalid reference format",
		{"demo@" + one, ""}: "refusing to create a tag with a digest reference",
	} {
		a.do(http.MethodPost, "/images/demo:1/tag", nil, "repo", query[0], "tag", query[1]).want(http.StatusBadRequest, text)
	}
}

func TestRemove(t *testing.T) {
	a := newAPI(t)
	id := a.imported("demo:1", "one")
	a.do(http.MethodPost, "/images/demo:1/tag", nil, "repo", "other", "tag", "1")
	a.do(http.MethodDelete, "/images/"+id[7:19], nil).want(http.StatusConflict,
		"conflict: unable to delete "+id[7:19]+" (must be forced) - image is referenced in multiple repositories")
	got := into[[]imagestore.Removed](a.do(http.MethodDelete, "/images/other:1", nil).want(http.StatusOK))
	if want := []imagestore.Removed{{Untagged: "other:1"}}; !slices.Equal(got, want) {
		t.Errorf("removed %v, want %v", got, want)
	}
	a.do(http.MethodDelete, "/images/demo:1", nil, "platforms", `{"os":"linux","architecture":"amd64"}`).want(http.StatusBadRequest, "--force")
	got = into[[]imagestore.Removed](a.do(http.MethodDelete, "/images/demo:1", nil).want(http.StatusOK))
	if want := []imagestore.Removed{{Untagged: "demo:1"}, {Deleted: id}}; !slices.Equal(got, want) {
		t.Errorf("removed %v, want %v", got, want)
	}
	a.nothing()

	id = a.imported("demo:1", "one")
	a.do(http.MethodPost, "/images/demo:1/tag", nil, "repo", "other", "tag", "1")
	a.do(http.MethodDelete, "/images/"+id, nil, "force", "1").want(http.StatusOK, `"Untagged":"other:1"`, `"Deleted":"`+id+`"`)
	a.nothing()
}

func TestPrune(t *testing.T) {
	a := newAPI(t)
	a.imported("demo:1", "one", "LABEL keep=1")
	lost := a.imported("", strings.Repeat("two", 10000))
	a.imported("demo:2", "three")
	type report struct {
		ImagesDeleted  []imagestore.Removed
		SpaceReclaimed int64
	}
	got := into[report](a.do(http.MethodPost, "/images/prune", nil).want(http.StatusOK))
	if !slices.Contains(got.ImagesDeleted, imagestore.Removed{Deleted: lost}) || got.SpaceReclaimed < 30000 {
		t.Errorf("pruned %+v", got)
	}
	a.do(http.MethodPost, "/images/prune", nil, "filters", `{"dangling":["false"],"label!":["keep"]}`).want(http.StatusOK, "demo:2").lacks("demo:1")
	a.do(http.MethodPost, "/images/prune", nil, "filters", `{"before":["demo:1"]}`).want(http.StatusBadRequest, "invalid filter 'before'")
	if tags := a.tags(); !slices.Equal(tags, []string{"demo:1"}) {
		t.Errorf("left %v", tags)
	}
	a.do(http.MethodPost, "/images/prune", nil, "filters", `{"dangling":["false"]}`).want(http.StatusOK)
	a.nothing()
}

func TestSearchIsRefused(t *testing.T) {
	newAPI(t).do(http.MethodGet, "/images/search", nil, "term", "x").want(http.StatusNotImplemented, "a builder does not search registries")
}
