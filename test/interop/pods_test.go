package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/kilnbuild/kiln/test/daemon"
)

// namespace is where the driver works.
const namespace = "default"

// pods plays a cluster for buildx's kubernetes driver. It takes the objects
// that the driver makes, runs a daemon with the arguments of their container,
// and runs commands of "exec" beside it, as if that were inside the pod.
type pods struct {
	t   *testing.T
	bin string // buildctl is there

	mu      sync.Mutex
	objects map[string]json.RawMessage // by path
	pod     *core.PodTemplateSpec
	daemon  *daemon.Daemon
}

// newPods serves the API and returns the file that clients find it by.
func newPods(t *testing.T) (p *pods, kubeconfig string) {
	t.Helper()
	p = &pods{t: t, bin: t.TempDir(), objects: map[string]json.RawMessage{}}
	if err := os.Symlink(own(t, "kiln"), filepath.Join(p.bin, "buildctl")); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/namespaces/"+namespace+"/pods/{name}/exec", p.exec)
	mux.HandleFunc("GET /api/v1/namespaces/"+namespace+"/pods", p.list)
	mux.HandleFunc("POST /", p.create)
	mux.HandleFunc("GET /", p.get)
	mux.HandleFunc("DELETE /", p.remove)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	write(t, kubeconfig, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": %q}}],
		"clusters": [{"name": "c", "cluster": {"server": %q}}], "users": [{"name": "u", "user": {}}]}`, namespace, server.URL))
	return p, kubeconfig
}

// answer sends an object, or what the API says instead of one.
func answer(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object)
}

// refuse sends an error as the API does.
func refuse(w http.ResponseWriter, code int, reason string, err error) {
	answer(w, code, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": err.Error()})
}

// create keeps an object; a workload is started.
func (p *pods) create(w http.ResponseWriter, r *http.Request) {
	var head struct {
		Metadata struct{ Name string }
	}
	object, err := decodeObject(http.MaxBytesReader(w, r.Body, 1<<20), path.Base(r.URL.Path))
	if err == nil {
		err = json.Unmarshal(object, &head)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	started := object
	switch path.Base(r.URL.Path) {
	case "deployments":
		started, err = schedule(p, object, func(d *apps.Deployment) *core.PodTemplateSpec {
			d.Status.ReadyReplicas, d.Status.Replicas = 1, 1
			return &d.Spec.Template
		})
	case "statefulsets":
		started, err = schedule(p, object, func(s *apps.StatefulSet) *core.PodTemplateSpec {
			s.Status.ReadyReplicas, s.Status.Replicas = 1, 1
			return &s.Spec.Template
		})
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError", err)
		return
	}
	p.objects[r.URL.Path+"/"+head.Metadata.Name] = started
	answer(w, http.StatusCreated, object)
}

// decodeObject reads an object of a resource, which clients send in the API's
// binary form, and returns it as JSON.
func decodeObject(body io.Reader, resource string) (json.RawMessage, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	data, ok := bytes.CutPrefix(data, []byte("k8s\x00"))
	if !ok {
		return data, nil
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(data); err != nil {
		return nil, err
	}
	var object interface{ Unmarshal(data []byte) error }
	switch resource {
	case "deployments":
		object = &apps.Deployment{}
	case "statefulsets":
		object = &apps.StatefulSet{}
	case "configmaps":
		object = &core.ConfigMap{}
	default:
		return nil, fmt.Errorf("%s are not expected", resource)
	}
	if err := object.Unmarshal(envelope.Raw); err != nil {
		return nil, err
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	// The type is told by the envelope only.
	fields["apiVersion"], fields["kind"] = envelope.APIVersion, envelope.Kind
	return json.Marshal(fields)
}

// schedule runs the daemon of a workload; ready says in it that it runs.
func schedule[W any](p *pods, object json.RawMessage, ready func(*W) *core.PodTemplateSpec) (json.RawMessage, error) {
	var workload W
	if err := json.Unmarshal(object, &workload); err != nil {
		return nil, err
	}
	p.pod = ready(&workload)
	// What comes with a set of flags for a place that pods have alone is left
	// to the image's own tests.
	args := slices.DeleteFunc(slices.Clone(p.pod.Spec.Containers[0].Args), func(a string) bool { return a == "--oci-worker-no-process-sandbox" })
	d, err := daemon.New(context.WithoutCancel(p.t.Context()), daemon.Config{Args: args})
	if err != nil {
		return nil, err
	}
	p.daemon = d
	p.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			p.t.Errorf("stop the pod: %v", err)
		}
	})
	if _, err := d.Start(context.WithoutCancel(p.t.Context())); err != nil {
		return nil, err
	}
	return json.Marshal(workload)
}

// get returns an object.
func (p *pods) get(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	object, ok := p.objects[r.URL.Path]
	if !ok {
		refuse(w, http.StatusNotFound, "NotFound", fmt.Errorf("%s not found", path.Base(r.URL.Path)))
		return
	}
	answer(w, http.StatusOK, object)
}

// remove forgets an object.
func (p *pods) remove(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.objects, r.URL.Path)
	answer(w, http.StatusOK, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Success"})
}

// list returns the one pod.
func (p *pods) list(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := core.PodList{}
	out.Kind, out.APIVersion = "PodList", "v1"
	if p.pod != nil {
		pod := core.Pod{Spec: p.pod.Spec, Status: core.PodStatus{Phase: core.PodRunning}}
		pod.Name, pod.Namespace, pod.Labels, pod.Annotations = "pod-0", namespace, p.pod.Labels, p.pod.Annotations
		out.Items = []core.Pod{pod}
	}
	answer(w, http.StatusOK, out)
}

// command runs something in the pod.
func (p *pods) command(ctx context.Context, argv []string) *exec.Cmd {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, filepath.Base(argv[0])), argv[1:]...)
	cmd.Env = append(os.Environ(), "BUILDKIT_HOST="+p.daemon.Address)
	return cmd
}

// exec connects a client with a command, by the protocol of the API server.
func (p *pods) exec(w http.ResponseWriter, r *http.Request) {
	if got := r.URL.Query().Get("container"); got != p.pod.Spec.Containers[0].Name {
		refuse(w, http.StatusBadRequest, "BadRequest", fmt.Errorf("container %s is not in the pod", got))
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{"v4.channel.k8s.io"}); err != nil {
		return
	}
	opened := make(chan httpstream.Stream, 4)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		opened <- s
		return nil
	})
	if conn == nil {
		return
	}
	defer conn.Close()
	streams := map[string]httpstream.Stream{}
	for len(streams) < 4 {
		select {
		case s := <-opened:
			streams[s.Headers().Get(core.StreamType)] = s
		case <-time.After(30 * time.Second):
			p.t.Error("the client opens no streams")
			return
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	go func() {
		<-conn.CloseChan()
		cancel()
	}()
	cmd := p.command(ctx, r.URL.Query()["command"])
	cmd.Stdin, cmd.Stdout, cmd.Stderr = streams[core.StreamTypeStdin], streams[core.StreamTypeStdout], streams[core.StreamTypeStderr]
	cmd.WaitDelay = time.Second
	status := `{"metadata":{},"status":"Success"}`
	if err := cmd.Run(); err != nil {
		status = fmt.Sprintf(`{"metadata":{},"status":"Failure","message":%q}`, err)
	}
	_, _ = streams[core.StreamTypeError].Write([]byte(status))
	for _, s := range streams {
		_ = s.Close()
	}
}
