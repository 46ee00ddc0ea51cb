package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"

	"github.com/kilnbuild/kiln/test/fixtures"
)

// TestDockerImages takes an image the way people do with docker's command: built,
// looked at, tagged, pushed, removed, pulled, saved, loaded and pruned.
func TestDockerImages(t *testing.T) {
	e, s := newEngine(t), fixtures.Registry(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nLABEL a=b\nCOPY f /f\nCMD [\"true\"]\n", "f", "x")
	e.docker(true, "build", "-t", "demo:1", dir).ok(t)
	id := strings.TrimSpace(e.docker(false, "images", "-q", "--no-trunc", "demo:1").ok(t).stdout)
	remote := s.Addr + "/team/demo"
	says := func(want string, args ...string) {
		t.Helper()
		if out := e.docker(false, args...).ok(t).stdout; !strings.Contains(out, want) {
			t.Errorf("docker %s does not say %q:\n%s", strings.Join(args, " "), want, out)
		}
	}
	says(`"Id": "`+id+`"`, "inspect", "demo:1")
	says("b", "inspect", "--format", "{{.Config.Labels.a}}", "demo:1")
	says("COPY f /f", "history", "--no-trunc", "demo:1")
	says("containerd.snapshotter", "info")
	e.docker(false, "tag", "demo:1", remote+":1").ok(t)
	e.docker(false, "tag", "demo:1", remote+":2").ok(t)
	says("1: digest: "+id, "push", remote+":1")
	says("2: digest: "+id, "push", "-a", remote)
	e.docker(false, "rmi", id).failed(t, "must be forced")
	archive := filepath.Join(t.TempDir(), "demo.tar")
	e.docker(false, "save", "-o", archive, "demo:1").ok(t)
	says("Deleted: "+id, "rmi", "-f", id)
	says("Status: Downloaded newer image for "+remote+":1", "pull", remote+":1")
	says("Status: Image is up to date for "+remote+":1", "pull", remote+":1")
	says("Loaded image: demo:1", "load", "-i", archive)
	// A build moves the tag on; what it was is pruned.
	e.docker(false, "rmi", remote+":1").ok(t)
	e.docker(true, "build", "--label=more=1", "-t", "demo:1", dir).ok(t)
	says(id, "images", "-q", "--no-trunc", "-f", "dangling=true")
	says("deleted: "+id, "image", "prune", "-f")
	says("demo", "images", "--filter", "label=more")
	says("Build cache usage", "system", "df", "-v")
	says("Total", "builder", "prune", "-af")
	says("demo", "images")
	says("Login Succeeded", "login", "-u", "u", "-p", "p", s.Addr)
	says("Total reclaimed space", "system", "prune", "-af")
	if left := e.docker(false, "images", "-aq").ok(t).stdout; left != "" {
		t.Errorf("images are left: %s", left)
	}
	e.docker(false, "search", "x").failed(t, "does not search registries")
	e.docker(false, "run", "busybox").failed(t, "this is a builder")
	e.docker(false, "inspect", "nope").failed(t, "no such object: nope")
}

// stream returns a function that reads an answer, which must not say that it
// failed.
func stream(t *testing.T) func(io.ReadCloser, error) string {
	return func(r io.ReadCloser, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "errorDetail") {
			t.Fatalf("the stream fails: %s", data)
		}
		return string(data)
	}
}

// TestDockerSDKImages does with docker's library what its users do.
func TestDockerSDKImages(t *testing.T) {
	e, s, ctx := newEngine(t), fixtures.Registry(t), t.Context()
	remote, c := fixtures.BusyboxIndex(t, s), e.sdk()
	listening, stop := context.WithCancel(ctx)
	defer stop()
	told, _ := c.Events(listening, events.ListOptions{Filters: filters.NewArgs(filters.Arg("type", "image"))})
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if out := stream(t)(c.ImagePull(ctx, remote, image.PullOptions{RegistryAuth: auth})); !strings.Contains(out, "Pull complete") {
		t.Errorf("the pull says %s", out)
	}
	select {
	case m := <-told:
		if m.Action != events.ActionPull || m.Actor.ID != remote {
			t.Errorf("told %+v", m)
		}
	case <-time.After(20 * time.Second):
		t.Error("the pull is not told")
	}
	in, err := c.ImageInspect(ctx, remote, client.ImageInspectWithManifests(true))
	if err != nil || len(in.Manifests) < 2 || in.Os != "linux" || len(in.RootFS.Layers) == 0 {
		t.Fatalf("inspected %+v, %v", in, err)
	}
	if err := c.ImageTag(ctx, in.ID, s.Addr+"/sdk/copy:1"); err != nil {
		t.Fatal(err)
	}
	stream(t)(c.ImagePush(ctx, s.Addr+"/sdk/copy:1", image.PushOptions{RegistryAuth: auth}))
	far, err := c.DistributionInspect(ctx, s.Addr+"/sdk/copy:1", auth)
	if err != nil || len(far.Platforms) == 0 {
		t.Errorf("the registry has %+v, %v", far, err)
	}
	tar := stream(t)(c.ImageSave(ctx, []string{remote}))
	loaded, err := c.ImageLoad(ctx, strings.NewReader(tar))
	if err != nil || !loaded.JSON {
		t.Fatalf("load: %+v, %v", loaded, err)
	}
	stream(t)(loaded.Body, nil)
	if list, err := c.ImageList(ctx, image.ListOptions{Manifests: true}); err != nil || len(list) != 1 || len(list[0].RepoTags) != 2 {
		t.Errorf("listed %+v, %v", list, err)
	}
	if du, err := c.DiskUsage(ctx, types.DiskUsageOptions{}); err != nil || len(du.Images) != 1 || du.LayersSize == 0 {
		t.Errorf("disk usage %+v, %v", du, err)
	}
	gone, err := c.ImageRemove(ctx, in.ID, image.RemoveOptions{Force: true})
	if err != nil || len(gone) != 3 {
		t.Errorf("removed %+v, %v", gone, err)
	}
	if _, err := c.ImageInspect(ctx, remote); err == nil || !strings.Contains(err.Error(), "No such image") {
		t.Errorf("inspect of what is gone: %v", err)
	}
}

// TestDockerSDKImport makes an image of a folder.
func TestDockerSDKImport(t *testing.T) {
	e := newEngine(t)
	from := image.ImportSource{Source: packed(t, folder(t, "f", "x")), SourceName: "-"}
	said := stream(t)(e.sdk().ImageImport(t.Context(), from, "imp:1", image.ImportOptions{Changes: []string{"CMD x"}}))
	var status struct{ Status string }
	if err := json.NewDecoder(bytes.NewReader([]byte(said))).Decode(&status); err != nil || !strings.HasPrefix(status.Status, "sha256:") {
		t.Errorf("imported %s, %v", said, err)
	}
}
