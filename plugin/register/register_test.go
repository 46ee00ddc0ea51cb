package register

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	containerd "github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestRegistered shows what importing the package registers.
func TestRegistered(t *testing.T) {
	have := map[string]bool{}
	for _, r := range registry.Graph(func(*containerd.Registration) bool { return false }) {
		have[r.URI()] = true
	}
	for _, uri := range []string{"io.containerd.snapshotter.v1.kiln", "io.containerd.differ.v1.kiln", "io.containerd.grpc.v1.kiln"} {
		if !have[uri] {
			t.Errorf("%s is not registered", uri)
		}
	}
}

// TestSection shows that the section means what kilnd.toml means.
func TestSection(t *testing.T) {
	cfg, namespace, warnings, err := Section{
		"namespace":             "k8s.io",
		"insecure-entitlements": []any{"network.host"},
		"rgistry":               map[string]any{},
		"worker": map[string]any{"containerd": map[string]any{
			"snapshotter": "overlayfs", "max-parallelism": int64(3), "labels": map[string]any{"a": "b"}, "reservedSpace": "10GB",
		}},
	}.read()
	if err != nil {
		t.Fatal(err)
	}
	steps := cfg.Workers.OCI
	if namespace != "k8s.io" || steps.Snapshotter != "overlayfs" || steps.MaxParallelism != 3 || steps.Labels["a"] != "b" ||
		steps.Reserved.Bytes != 10<<30 || cfg.Entitlements[0] != "network.host" {
		t.Errorf("namespace %s, steps %+v", namespace, steps)
	}
	if len(warnings) != 1 || warnings[0].Nearest != "registry" {
		t.Errorf("warnings are %v", warnings)
	}
}

// TestSectionDefaults shows an empty section.
func TestSectionDefaults(t *testing.T) {
	cfg, namespace, _, err := Section{}.read()
	if err != nil {
		t.Fatal(err)
	}
	if namespace != "buildkit" || cfg.Workers.OCI.Snapshotter != "kiln" || cfg.Workers.OCI.Mode != "auto" {
		t.Errorf("namespace %s, steps %+v", namespace, cfg.Workers.OCI)
	}
}

// TestSectionErrors shows what is refused.
func TestSectionErrors(t *testing.T) {
	for want, section := range map[string]Section{
		"namespace is 3":              {"namespace": int64(3)},
		"system.maxRegistryConcurren": {"system": map[string]any{"maxRegistryConcurrency": int64(0)}},
		"invalid duration":            {"history": map[string]any{"maxAge": "soon"}},
	} {
		if _, _, _, err := section.read(); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

// TestUUID shows that an identity is made once and that containerd's counts.
func TestUUID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "introspection", "uuid")
	first, err := uuid(path)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(first) {
		t.Errorf("%s is no UUID of version 4", first)
	}
	if again, err := uuid(path); err != nil || again != first {
		t.Errorf("second look says %q (%v), first said %q", again, err, first)
	}
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := uuid(path); err != nil || got != "theirs" {
		t.Errorf("UUID is %q (%v)", got, err)
	}
}

// recorder is a registrar that remembers a service.
type recorder struct{ desc *grpc.ServiceDesc }

// RegisterService implements grpc.ServiceRegistrar.
func (r *recorder) RegisterService(desc *grpc.ServiceDesc, _ any) { r.desc = desc }

// TestRegistrar shows that a method's errors are converted, that it has a
// namespace, and that the server's own interceptor is around it.
func TestRegistrar(t *testing.T) {
	var namespace string
	method := func(srv any, ctx context.Context, decode func(any) error, around grpc.UnaryServerInterceptor) (any, error) {
		return around(ctx, nil, &grpc.UnaryServerInfo{}, func(ctx context.Context, _ any) (any, error) {
			namespace, _ = namespaces.Namespace(ctx)
			return nil, errdefs.ErrNotFound
		})
	}
	into := &recorder{}
	registrar{into, "build", nil}.RegisterService(&grpc.ServiceDesc{Methods: []grpc.MethodDesc{{MethodName: "M", Handler: method}}}, nil)
	wrapped := into.desc.Methods[0].Handler

	_, err := wrapped(nil, t.Context(), nil, nil)
	if status.Code(err) != codes.NotFound || namespace != "build" {
		t.Errorf("code %s, namespace %q", status.Code(err), namespace)
	}
	outer := false
	_, err = wrapped(nil, namespaces.WithNamespace(t.Context(), "mine"), nil, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		outer = true
		return next(ctx, req)
	})
	if status.Code(err) != codes.NotFound || namespace != "mine" || !outer {
		t.Errorf("code %s, namespace %q, server's own interceptor ran: %t", status.Code(err), namespace, outer)
	}
}
