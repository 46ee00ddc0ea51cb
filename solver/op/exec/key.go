package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// keyType names the op in its key. The JSON that is hashed, odd exceptions
// included, is that of caches which other builders exported.
const keyType = "buildkit.exec.v0"

// Keys returns the identity of the command.
func (o *Op) Keys(context.Context, solver.Env) (solver.KeySpec, error) {
	dgst, err := o.definition()
	if err != nil {
		return solver.KeySpec{}, err
	}
	inputs, err := inputKeys(o.op.GetMounts(), o.inputs)
	if err != nil {
		return solver.KeySpec{}, err
	}
	return solver.KeySpec{Digest: dgst, Inputs: inputs}, nil
}

func (o *Op) definition() (digest.Digest, error) {
	op := proto.CloneOf(o.op)
	for _, h := range op.GetMeta().GetExtraHosts() {
		h.IP = ""
	}
	for _, m := range op.GetMounts() {
		m.Selector = ""
		if c := m.GetCacheOpt(); c != nil && !plainCache(m) {
			c.ID, c.Sharing = "", 0
		}
	}
	op.GetMeta().ProxyEnv = nil
	if len(op.GetMounts()) == 1 && plainRoot(op.GetMounts()[0]) {
		op.Mounts = nil
	}
	data, err := json.Marshal(struct {
		Type       string
		Exec       *pb.ExecOp
		OS         string
		Arch       string
		Variant    string   `json:",omitempty"`
		OSVersion  string   `json:",omitempty"`
		OSFeatures []string `json:",omitempty"`
	}{
		keyType, op, o.platform.OS, o.platform.Architecture, o.platform.Variant, o.platform.OSVersion, o.platform.OSFeatures,
	})
	if err != nil {
		return "", fmt.Errorf("key of exec op: %w", err)
	}
	return digest.FromBytes(data), nil
}

// plainCache reports a cache mount as Dockerfiles have by default: its id is
// its place, with or without a namespace, and it is shared. Only those count
// in the key.
func plainCache(m *pb.Mount) bool {
	if m.GetCacheOpt().GetSharing() != pb.CacheSharingOpt_SHARED {
		return false
	}
	id := m.GetCacheOpt().GetID()
	_, rest, ok := strings.Cut(id, "/")
	return id == m.GetDest() || ok && rest == m.GetDest()
}

// plainRoot reports a writable root and nothing special.
func plainRoot(m *pb.Mount) bool {
	return m.GetDest() == rootDest && !m.GetReadonly() && m.GetMountType() == pb.MountType_BIND &&
		m.GetCacheOpt() == nil && m.GetSSHOpt() == nil && m.GetSecretOpt() == nil && m.GetResultID() == ""
}

// inputKeys says for each input what of it counts.
func inputKeys(mounts []*pb.Mount, inputs int) ([]solver.InputKey, error) {
	keys := make([]solver.InputKey, inputs)
	selectors := make([][]string, inputs)
	byContent := make([]bool, inputs)
	for _, m := range mounts {
		if !hasInput(m) {
			continue
		}
		i := m.GetInput()
		selectors[i] = append(selectors[i], path.Join("/", m.GetSelector()))
		// The last mount of an input decides: a fact of shared caches.
		var err error
		if byContent[i], err = countsByContent(m); err != nil {
			return nil, err
		}
	}
	for i := range keys {
		if len(selectors[i]) == 0 {
			continue
		}
		keys[i].Selector = digest.FromString(strings.Join(selectors[i], "\x00"))
		if byContent[i] {
			keys[i].Content = contentOf(topmost(selectors[i]))
		}
	}
	return keys, nil
}

// countsByContent reports whether only what a mount shows matters, not how it
// was made. That is unsafe where a part of an input is writable and comes back
// out: the rest of the input comes out with it, unseen by the key.
func countsByContent(m *pb.Mount) (bool, error) {
	safe := m.GetOutput() == noOutput || m.GetReadonly() || path.Join("/", m.GetSelector()) == "/"
	switch m.GetContentCache() {
	case pb.MountContentCache_OFF:
		return false, nil
	case pb.MountContentCache_ON:
		if !safe {
			return false, fmt.Errorf("invalid mount cache content %v: mount %s can change more than it shows: %w",
				m, m.GetDest(), errdefs.ErrInvalidArgument)
		}
		return true, nil
	}
	// A root is whole distributions: reading it costs more than it saves.
	return safe && m.GetDest() != rootDest, nil
}

// topmost sorts paths and drops those below another one.
func topmost(paths []string) []string {
	sorted := slices.Compact(slices.Sorted(slices.Values(paths)))
	return slices.DeleteFunc(slices.Clone(sorted), func(p string) bool {
		return slices.ContainsFunc(sorted, func(q string) bool {
			return p != q && strings.HasPrefix(p, strings.TrimSuffix(q, "/")+"/")
		})
	})
}

// contentOf digests what is at paths of an input.
func contentOf(paths []string) solver.ContentFunc {
	if slices.Contains(paths, "/") {
		paths = []string{"/"}
	}
	return func(ctx context.Context, _ solver.Env, input solver.Result) (digest.Digest, error) {
		r, err := ref.From(input)
		if err != nil {
			return "", err
		}
		var parts [][]byte
		for _, p := range paths {
			opt := ref.ContentOptions{FollowLinks: p != "/"}
			d, err := r.ContentDigest(ctx, p, opt)
			if err != nil {
				return "", checksumError(r, err)
			}
			parts = append(parts, []byte(d))
		}
		return digest.FromBytes(bytes.Join(parts, []byte{0})), nil
	}
}

func checksumError(r *ref.Ref, err error) error {
	id := "scratch"
	if r != nil {
		id = r.ID()
	}
	return fmt.Errorf("failed to calculate checksum of ref %s: %w", id, err)
}
