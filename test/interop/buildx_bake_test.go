package interop_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// baked is a file with all that bake makes targets of: variables, functions, a
// matrix, contexts that are other targets, and attestations.
const baked = `variable "WHO" { default = "me" }
function "twice" {
  params = [x]
  result = "${x}${x}"
}
group "default" { targets = ["app", "each", "attested"] }
target "base" {
  dockerfile-inline = "FROM BASE\nARG WHO\nRUN echo $WHO > /who\n"
  args = { WHO = twice(WHO) }
  output = ["type=cacheonly"]
}
target "app" {
  contexts = { base = "target:base" }
  dockerfile-inline = "FROM base\nRUN test $(cat /who) = meme\n"
  tags = ["TAGS/app:1"]
  attest = ["type=provenance,disabled=true"]
}
target "each" {
  name = "each-${v}"
  matrix = { v = ["1", "2"] }
  inherits = ["base"]
  args = { WHO = v }
  tags = ["TAGS/each:${v}"]
  output = ["type=image"]
}
target "attested" {
  inherits = ["base"]
  attest = ["type=provenance,mode=max"]
  tags = ["TAGS/attested:1"]
  output = ["type=image"]
}
`

// TestBakeEngine bakes with the docker driver, which has nothing but
// DOCKER_HOST, and with the kiln driver; both make the same image.
func TestBakeEngine(t *testing.T) {
	e := newEngine(t)
	e.driver("kiln", "socket="+strings.TrimPrefix(e.Address, "unix://"))
	ids := map[string]string{}
	for _, builder := range []string{"default", "kiln"} {
		tags := world.registry.Addr + "/baked-" + builder
		file := filepath.Join(folder(t, "docker-bake.hcl", strings.NewReplacer("BASE", base(t, "busybox"), "TAGS", tags).Replace(baked)), "docker-bake.hcl")
		bake := func(args ...string) outcome {
			t.Helper()
			return e.docker(false, append([]string{"buildx", "--builder=" + builder, "bake", "--progress=plain", "--file=" + file}, args...)...).ok(t)
		}
		if plan := bake("--print").stdout; !strings.Contains(plan, `"each-2"`) || !strings.Contains(plan, `"base": "target:base"`) {
			t.Errorf("the plan is %s", plan)
		}
		bake("--load", "app")
		ids[builder], _ = e.named(tags + "/app:1")
		bake("--push")
		for _, name := range []string{"/app:1", "/each:1", "/each:2", "/attested:1"} {
			if shown := e.docker(false, "buildx", "imagetools", "inspect", tags+name).ok(t).stdout; strings.Contains(shown, "attestation-manifest") != (name != "/app:1") {
				t.Errorf("%s by %s in the registry: %s", name, builder, shown)
			}
		}
	}
	if ids["default"] != ids["kiln"] || ids["kiln"] == "" {
		t.Errorf("images are %v", ids)
	}
}
