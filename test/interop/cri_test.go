package interop_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kilnbuild/kiln/test/daemon"
)

// kubelet is a client of a containerd's CRI, which is how Kubernetes drives it.
type kubelet struct {
	containers runtime.RuntimeServiceClient
	images     runtime.ImageServiceClient
	// logs is where containers write.
	logs string
}

// withKubernetes starts a containerd that serves CRI on kiln's snapshotter, and
// a builder that works in the namespace of Kubernetes.
func withKubernetes(t *testing.T, name, extra string, imports ...string) (*containerdWorld, *kubelet) {
	t.Helper()
	dir := t.TempDir()
	c, err := daemon.NewContainerd(t.Context(), name, fmt.Sprintf(`
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'kiln'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = 'docker.io/library/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    conf_dir = %q
%s`, filepath.Join(dir, "net.d"), extra))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ServeCRI(); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range imports {
		if err := c.Import(pattern); err != nil {
			t.Fatal(err)
		}
	}
	start(t, c)
	conn, err := grpc.NewClient("unix://"+c.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	k := &kubelet{runtime.NewRuntimeServiceClient(conn), runtime.NewImageServiceClient(conn), filepath.Join(dir, "logs")}
	return &containerdWorld{ctd: c, address: "unix://" + c.Socket, snapshotter: "kiln"}, k
}

// run runs one container in a pod of its own and returns what it said.
func (k *kubelet) run(t *testing.T, image string, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pod := &runtime.PodSandboxConfig{
		Metadata: &runtime.PodSandboxMetadata{Name: "pod", Uid: t.Name(), Namespace: "default"}, LogDirectory: k.logs,
		// No network of its own, so that no CNI is needed.
		Linux: &runtime.LinuxPodSandboxConfig{SecurityContext: &runtime.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE},
		}},
	}
	sandbox, err := k.containers.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: pod})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		if _, err := k.containers.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: sandbox.PodSandboxId}); err != nil {
			t.Error(err)
		}
		if _, err := k.containers.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: sandbox.PodSandboxId}); err != nil {
			t.Error(err)
		}
	}()
	log := command[0] + ".log"
	made, err := k.containers.CreateContainer(ctx, &runtime.CreateContainerRequest{
		PodSandboxId: sandbox.PodSandboxId, SandboxConfig: pod,
		Config: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: "one"}, Image: &runtime.ImageSpec{Image: image}, Command: command, LogPath: log,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.containers.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		t.Fatal(err)
	}
	for {
		status, err := k.containers.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: made.ContainerId})
		if err != nil {
			t.Fatal(err)
		}
		if status.Status.State == runtime.ContainerState_CONTAINER_EXITED {
			return read(t, filepath.Join(k.logs, log))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// has waits until the CRI knows an image, of which it learns by an event.
func (k *kubelet) has(t *testing.T, image string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		status, err := k.images.ImageStatus(t.Context(), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: image}})
		if err != nil {
			t.Fatal(err)
		}
		if status.Image != nil {
			if !slices.Contains(status.Image.RepoTags, image) || status.Image.Size == 0 {
				t.Errorf("image is %v", status.Image)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("CRI does not know %s", image)
		}
	}
}

// TestKubernetesRunsWhatWasBuilt shows that a pod runs an image on the node that
// built it, which no registry has, and that kiln's snapshotter serves pulls.
func TestKubernetesRunsWhatWasBuilt(t *testing.T) {
	hosts := map[string]func(t *testing.T) (*containerdWorld, *kubelet){
		"plugin": func(t *testing.T) (*containerdWorld, *kubelet) {
			return withKubernetes(t, "containerd-kiln", "[plugins.'io.containerd.grpc.v1.kiln']\n  namespace = 'k8s.io'\n"+
				"[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\n  platform = '"+platforms.DefaultString()+"'\n  snapshotter = 'kiln'\n  differ = 'kiln'\n")
		},
		"proxy": func(t *testing.T) (*containerdWorld, *kubelet) {
			dir, err := os.MkdirTemp("", "kiln-cri-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			run(t, "", nil, own(t, "kiln"), "install-proxy", "--address", filepath.Join(dir, "p.sock"), "--write", "--file", filepath.Join(dir, "kiln.toml")).ok(t)
			w, k := withKubernetes(t, "containerd", "", filepath.Join(dir, "*.toml"))
			w.kilnd = fresh(t, daemon.Config{Args: []string{"--containerd", w.address, "--namespace", "k8s.io"}})
			w.address = w.kilnd.Address
			return w, k
		},
	}
	for name, host := range hosts {
		t.Run(name, func(t *testing.T) {
			w, k := host(t)
			ref := base(t, "busybox")
			pause := folder(t, "Dockerfile", "FROM "+ref+"\nENTRYPOINT [\"sleep\", \"1000\"]\n")
			w.build(t, pause, "--output=type=image,name=docker.io/library/pause:1").ok(t)
			app := folder(t, "Dockerfile", "FROM "+ref+"\nRUN echo built > /made\n")
			w.build(t, app, "--output=type=image,name=docker.io/library/app:1").ok(t)

			k.has(t, "docker.io/library/app:1")
			if got := k.run(t, "docker.io/library/app:1", "cat", "/made"); !isLog(got, "built") {
				t.Errorf("container said %q", got)
			}
			if _, err := k.images.PullImage(t.Context(), &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: ref}}); err != nil {
				t.Fatal(err)
			}
			if got := k.run(t, ref, "echo", "pulled"); !isLog(got, "pulled") {
				t.Errorf("container said %q", got)
			}
		})
	}
}

// isLog reports whether a log of CRI's format has one line, the one wanted.
func isLog(log, want string) bool {
	var at, stream, tag, line string
	_, err := fmt.Sscanf(log, "%s %s %s %s\n", &at, &stream, &tag, &line)
	return err == nil && stream == "stdout" && line == want
}
