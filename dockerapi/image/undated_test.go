package image_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/dockerapi/image"
)

// undated loads an image without layers whose configuration does not say when
// it was made, as builds of nothing but settings make them.
func (a *api) undated(name, author string) {
	a.t.Helper()
	config, configDigest := blob(`{"architecture":"amd64","os":"linux","created":null,"author":"` + author +
		`","rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"MAINTAINER ` + author + `","empty_layer":true}]}`)
	manifest, manifestDigest := blob(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, configDigest, len(config.body)))
	index := file{name: "index.json", body: fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":`+
		`"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d,"annotations":{"io.containerd.image.name":%q}}]}`,
		manifestDigest, len(manifest.body), "docker.io/library/"+name)}
	a.do(http.MethodPost, "/images/load", packed(a.t, file{name: "oci-layout", body: layout}, config, manifest, index)).
		want(http.StatusOK, "Loaded image: "+name)
}

// TestUndatedImages are as old as their entry in the store: lists are in order,
// filters compare them, and nothing is of 1970.
func TestUndatedImages(t *testing.T) {
	before := time.Now().Add(-time.Second)
	a := newAPI(t)
	for _, n := range []string{"1", "2", "3"} {
		a.undated("bare:"+n, "author"+n)
	}
	if got := a.tags(); !slices.Equal(got, []string{"bare:3", "bare:2", "bare:1"}) {
		t.Errorf("listed %v", got)
	}
	for filter, want := range map[string][]string{
		`{"since":["bare:1"]}`:                      {"bare:3", "bare:2"},
		`{"before":["bare:3"]}`:                     {"bare:2", "bare:1"},
		`{"since":["bare:1"],"before":["bare:3"]}`:  {"bare:2"},
		`{"since":["bare:3"]}`:                      {},
		`{"since":["bare:2"],"reference":["bare"]}`: {"bare:3"},
	} {
		if got := a.tags("filters", filter); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
	// Another name does not make it newer.
	a.do(http.MethodPost, "/images/bare:1/tag", nil, "repo", "late", "tag", "1").want(http.StatusCreated)
	if got := a.tags("filters", `{"since":["bare:1"],"reference":["late"]}`); len(got) > 0 {
		t.Errorf("since itself: %v", got)
	}
	for _, im := range into[[]image.Summary](a.do(http.MethodGet, "/images/json", nil)) {
		if im.Created < before.Unix() {
			t.Errorf("%v is of %d", im.RepoTags, im.Created)
		}
	}
	steps := into[[]struct{ Created int64 }](a.do(http.MethodGet, "/images/bare:1/history", nil))
	if len(steps) != 1 || steps[0].Created < before.Unix() {
		t.Errorf("history %v", steps)
	}
	a.do(http.MethodGet, "/images/bare:1/json", nil).want(http.StatusOK).lacks(`"Created"`)
}
