package interop_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/clouds"
	"github.com/kilnbuild/kiln/test/daemon"
)

// exchanged is a build whose result says whether a step ran again, with all
// that layers know: a file of another stage, links, a file and a folder that
// are gone, a folder that was replaced.
func exchanged(t *testing.T) string {
	t.Helper()
	return folder(t, "a", "text\n", "Dockerfile", fmt.Sprintf(`FROM %[1]s AS other
RUN cat /proc/sys/kernel/random/uuid > /id
FROM %[1]s
COPY a /d/a
COPY --from=other /id /d/id
RUN cp /d/id /d/copy; ln /d/copy /d/hard; ln -s copy /d/soft; mkdir /gone /new; echo old > /new/old; chmod 4711 /d/copy
RUN rm -r /gone /d/a /new; mkdir /new; cat /proc/sys/kernel/random/uuid > /new/id
`, base(t, "busybox")))
}

// asArg writes a cache's attributes as clients take them.
func asArg(typ string, attrs map[string]string) string {
	out := "type=" + typ
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		out += "," + k + "=" + attrs[k]
	}
	return out
}

// with returns attributes and more of them: NAME, VALUE pairs.
func with(attrs map[string]string, more ...string) map[string]string {
	out := maps.Clone(attrs)
	if out == nil {
		out = map[string]string{}
	}
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

// exchange is one cache that one daemon writes and another reads.
type exchange struct{ name, export, load string }

// exchanges are all types of caches in all their forms.
func exchanges(t *testing.T) []exchange {
	t.Helper()
	var out []exchange
	add := func(name, typ string, attrs map[string]string, exporting ...string) {
		out = append(out, exchange{name, asArg(typ, with(attrs, exporting...)), asArg(typ, attrs)})
	}
	for _, form := range []struct {
		name  string
		attrs []string
	}{
		{"image-min", []string{"mode", "min", "image-manifest", "true"}},
		{"image-max", []string{"mode", "max", "image-manifest", "true"}},
		{"index-min", []string{"mode", "min", "image-manifest", "false"}},
		{"index-max", []string{"mode", "max", "image-manifest", "false"}},
		{"docker", []string{"mode", "max", "oci-mediatypes", "false"}},
		{"zstd", []string{"mode", "max", "compression", "zstd", "force-compression", "true"}},
	} {
		add("registry-"+form.name, "registry", map[string]string{"ref": world.registry.Addr + "/exchange/" + form.name + ":1"}, form.attrs...)
		dir := t.TempDir()
		out = append(out, exchange{"local-" + form.name, asArg("local", with(nil, append(form.attrs, "dest", dir)...)), asArg("local", with(nil, "src", dir))})
	}
	for _, mode := range []string{"min", "max"} {
		add("s3-"+mode, "s3", with(clouds.S3(t), "prefix", mode+"/"), "mode", mode)
		add("azblob-"+mode, "azblob", with(clouds.Azure(t).Attrs(), "container", mode), "mode", mode)
		add("gha-1-"+mode, "gha", with(clouds.Actions(t).Attrs(1), "scope", mode), "mode", mode)
		add("gha-2-"+mode, "gha", with(clouds.Actions(t).Attrs(2), "scope", mode), "mode", mode)
	}
	image := world.registry.Addr + "/exchange/inline:1"
	return append(out, exchange{"inline", "type=inline", asArg("registry", map[string]string{"ref": image})})
}

// alone tells which caches take a build of their own: of several in folders the
// client is told only one, which it writes into the index of each; one inline is
// a part of all images.
func alone(x exchange) bool { return x.name == "inline" || strings.HasPrefix(x.name, "local-") }

// TestExchange: what one daemon built and exported, in each kind of cache,
// another that knows nothing finds: no step runs again, and the result has the
// same bytes.
func TestExchange(t *testing.T) {
	dir, all, out := exchanged(t), exchanges(t), t.TempDir()
	first := fresh(t, daemon.Config{})
	tar, archive := filepath.Join(out, "a.tar"), filepath.Join(out, "a.oci")
	args := []string{"--output=type=tar,dest=" + tar, "--output=type=oci,dest=" + archive}
	for _, x := range all {
		if !alone(x) {
			args = append(args, "--export-cache="+x.export)
		}
	}
	dockerfile(t, first, dir, args...).ok(t)
	for _, x := range all {
		if alone(x) {
			dockerfile(t, first, dir, "--export-cache="+x.export, "--output=type=image,push=true,name="+world.registry.Addr+"/exchange/inline:1").ok(t)
		}
	}
	digest := run(t, "", nil, "skopeo", "inspect", "--format={{.Digest}}", "oci-archive:"+archive).ok(t).stdout
	for _, x := range all {
		t.Run(x.name, func(t *testing.T) {
			out := t.TempDir()
			other, image := filepath.Join(out, "b.tar"), filepath.Join(out, "b.oci")
			said := dockerfile(t, fresh(t, daemon.Config{}), dir, "--import-cache="+x.load, "--output=type=tar,dest="+other,
				"--output=type=oci,dest="+image).ok(t).stderr
			steps := readSteps(said)
			ran := slices.DeleteFunc(steps.ran(), func(s string) bool { return strings.Contains(s, "FROM ") })
			if len(ran) != 0 || !steps.wasCached("RUN rm") {
				t.Errorf("steps that ran: %q\n%s", ran, said)
			}
			if read(t, tar) != read(t, other) {
				t.Error("results differ")
			}
			got := run(t, "", nil, "skopeo", "inspect", "--format={{.Digest}}", "oci-archive:"+image).ok(t).stdout
			if (got == digest) == strings.HasSuffix(x.name, "-zstd") {
				t.Errorf("image is %s, it was %s", got, digest)
			}
		})
	}
}

// TestCacheImportCorrupt: whoever keeps a cache may break it. The build says
// what is wrong with it at the step that reads it, and goes on without.
func TestCacheImportCorrupt(t *testing.T) {
	d, dir, whole := watch(t), folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN : corrupt; echo fine\nRUN : corrupter\n"), t.TempDir()
	dockerfile(t, d, dir, "--export-cache=type=local,mode=max,dest="+whole).ok(t)
	for _, tc := range []struct {
		name   string
		change func(config map[string]any) any
		want   string
	}{
		{"no cache config", func(map[string]any) any { return "nothing" }, "cache config: json"},
		{"record below itself", func(c map[string]any) any {
			for n, r := range c["records"].([]any) {
				if r := r.(map[string]any); r["inputs"] != nil {
					r["inputs"] = []any{[]any{map[string]any{"link": n}}}
				}
			}
			return c
		}, "is below itself"},
		{"layer below itself", func(c map[string]any) any {
			for n, l := range c["layers"].([]any) {
				l.(map[string]any)["parent"] = n
			}
			return c
		}, "is below itself"},
		{"layers that are not there", func(c map[string]any) any {
			c["layers"] = []any{}
			return c
		}, "of 0"},
		{"too large", func(c map[string]any) any {
			c["more"] = strings.Repeat("x", 17<<20)
			return c
		}, "too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := rewriteCache(t, whole, tc.change)
			said := dockerfile(t, d, dir, "--no-cache", "--import-cache=type=local,src="+src).ok(t).stderr
			if !strings.Contains(said, tc.want) || readSteps(said).output(": corrupt;") != "fine\n" {
				t.Errorf("client did not say %q:\n%s", tc.want, said)
			}
		})
	}
}

// rewriteCache returns a copy of a cache in a folder with another config.
func rewriteCache(t *testing.T, dir string, change func(map[string]any) any) string {
	t.Helper()
	out := t.TempDir()
	run(t, "", nil, "cp", "-r", dir+"/.", out).ok(t)
	blob := func(digest any) string {
		return filepath.Join(out, "blobs", "sha256", strings.TrimPrefix(digest.(string), "sha256:"))
	}
	load := func(path string) map[string]any {
		var v map[string]any
		if err := json.Unmarshal([]byte(read(t, path)), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	save := func(v any, describe map[string]any) {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		describe["digest"], describe["size"] = digestOf(string(data)), len(data)
		write(t, blob(describe["digest"]), string(data))
	}
	index := load(filepath.Join(out, "index.json"))
	root := index["manifests"].([]any)[0].(map[string]any)
	m := load(blob(root["digest"]))
	config := m["config"].(map[string]any)
	save(change(load(blob(config["digest"]))), config)
	save(m, root)
	data, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(out, "index.json"), string(data))
	return out
}

// TestCacheForcedCompression: what a build imported and had no need to load is
// in the cache that it exports, compressed as was insisted on.
func TestCacheForcedCompression(t *testing.T) {
	dir, cache, forced := exchanged(t), world.registry.Addr+"/forced/gzip:1", world.registry.Addr+"/forced/zstd:1"
	dockerfile(t, fresh(t, daemon.Config{}), dir, "--export-cache=type=registry,mode=max,ref="+cache).ok(t)
	dockerfile(t, fresh(t, daemon.Config{}), dir, "--import-cache=type=registry,ref="+cache,
		"--export-cache=type=registry,mode=max,compression=zstd,force-compression=true,ref="+forced).ok(t)
	before, after := fetchManifest(t, cache), fetchManifest(t, forced)
	if len(after.Layers) != len(before.Layers) {
		t.Errorf("%d layers became %d", len(before.Layers), len(after.Layers))
	}
	for _, l := range after.Layers {
		if !strings.HasSuffix(l.MediaType, "+zstd") {
			t.Errorf("layer %s is %s", l.Digest, l.MediaType)
		}
	}
	other := folder(t, "a", "text\n", "Dockerfile", strings.Replace(read(t, filepath.Join(dir, "Dockerfile")), "RUN rm", "RUN : more; rm", 1))
	steps := readSteps(dockerfile(t, fresh(t, daemon.Config{}), other, "--import-cache=type=registry,ref="+forced).ok(t).stderr)
	for _, name := range []string{"RUN cat /proc", "COPY a", "COPY --from=other", "RUN cp"} {
		if !steps.wasCached(name) {
			t.Errorf("%s was not cached", name)
		}
	}
}
