package differ_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/kilnbuild/kiln/differ"
	differdiff "github.com/kilnbuild/kiln/differ/diff"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// memLabels keeps labels for the local store.
type memLabels struct {
	m map[digest.Digest]map[string]string
}

func (s *memLabels) Get(d digest.Digest) (map[string]string, error) { return maps.Clone(s.m[d]), nil }
func (s *memLabels) Set(d digest.Digest, l map[string]string) error {
	s.m[d] = maps.Clone(l)
	return nil
}
func (s *memLabels) Update(d digest.Digest, l map[string]string) (map[string]string, error) {
	if s.m[d] == nil {
		s.m[d] = map[string]string{}
	}
	for k, v := range l {
		if v == "" {
			delete(s.m[d], k)
		} else {
			s.m[d][k] = v
		}
	}
	return maps.Clone(s.m[d]), nil
}

func newStore(t testing.TB) content.Store {
	t.Helper()
	cs, err := local.NewLabeledStore(t.TempDir(), &memLabels{map[digest.Digest]map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// TestLayersSurviveTheRoundTrip builds random piles of layers and checks, for
// each layer, everything that has to agree: the overlay-aware comparison, the
// walking one and containerd's own; what is on disk after applying the layers
// to an overlay and to a plain tree; and the indexes made on the way.
func TestLayersSurviveTheRoundTrip(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { roundTrip(t, seed) })
	}
}

func roundTrip(t *testing.T, seed uint64) {
	ctx := t.Context()
	d := differ.New(newStore(t), differ.Config{})
	made, applied := newLayers(t), newLayers(t)
	flat := filepath.Join(t.TempDir(), "flat")
	if err := os.Mkdir(flat, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 4; n++ {
		at(t, made.push(), func(root string) { mutate(t, seed*10+uint64(n), root, 70) })
		layer, err := d.CompareLayer(ctx, made.mounts(n-1), made.mounts(n), differ.CompareOptions{MediaType: ocispec.MediaTypeImageLayer})
		if err != nil {
			t.Fatal(err)
		}
		at(t, made.mounts(n-1), func(lower string) {
			at(t, made.mounts(n), func(upper string) { compareWithPeers(t, d, layer, lower, upper) })
		})

		got, err := d.ApplyLayer(ctx, layer.Descriptor, applied.push())
		if err != nil {
			t.Fatal(err)
		}
		if got.Descriptor.Digest != layer.DiffID {
			t.Errorf("diff id %s, applied %s", layer.DiffID, got.Descriptor.Digest)
		}
		fromDir, err := differ.IndexDir(ctx, applied.dirs[0])
		if err != nil {
			t.Fatal(err)
		}
		if n > 1 {
			sameIndex(t, "applied and read from the directory", dump(got.Index, true), dump(fromDir, true))
		}
		sameIndex(t, "compared and applied", dump(layer.Index, false), dump(got.Index, false))

		tree, err := d.ApplyLayer(ctx, layer.Descriptor, []mount.Mount{{Type: "bind", Source: flat, Options: []string{"rbind", "rw"}}})
		if err != nil {
			t.Fatal(err)
		}
		sameIndex(t, "applied to overlay and to tree", dump(got.Index, false), dump(tree.Index, false))

		var want string
		at(t, made.mounts(n), func(root string) { want = listing(t, root) })
		at(t, applied.mounts(n), func(root string) { sameText(t, "applied overlay", listing(t, root), want) })
		sameText(t, "applied tree", listing(t, flat), want)
	}
}

// compareWithPeers checks the stored tar against the walking fallback and
// against containerd's own differ.
func compareWithPeers(t *testing.T, _ *differ.Differ, layer differ.Layer, lower, upper string) {
	t.Helper()
	var walked, theirs bytes.Buffer
	index, err := differdiff.Write(t.Context(), &walked, differdiff.Pair{Upper: upper, Lower: []string{lower}}, differdiff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.WriteDiff(t.Context(), &theirs, lower, upper); err != nil {
		t.Fatal(err)
	}
	if digest.FromBytes(walked.Bytes()) != layer.DiffID {
		t.Error("the walking comparison makes another tar")
	}
	sameIndex(t, "overlay-aware and walking", dump(layer.Index, true), dump(index, true))
	for _, e := range index.Entries() {
		st, err := os.Lstat(filepath.Join(upper, e.Path))
		if e.Kind == layerindex.Whiteout && err == nil && st.Mode()&os.ModeSocket != 0 {
			return // the one case here where containerd's differ is wrong
		}
	}
	if !bytes.Equal(walked.Bytes(), theirs.Bytes()) {
		sameText(t, "containerd's tar", tarNames(t, walked.Bytes()), tarNames(t, theirs.Bytes()))
		t.Error("containerd makes another tar")
	}
}

func sameText(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, line := range a {
		if !slices.Contains(b, line) {
			t.Errorf("%s: has   %s", what, line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			t.Errorf("%s: lacks %s", what, line)
		}
	}
	t.Errorf("%s differs", what)
}

func sameIndex(t *testing.T, what, a, b string) {
	t.Helper()
	sameText(t, what, a, b)
}

// tarNames lists a tar for diagnostics.
func tarNames(t *testing.T, data []byte) string {
	var b strings.Builder
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %c %o %d:%d %d %s %v\n", hdr.Name, hdr.Typeflag, hdr.Mode, hdr.Uid, hdr.Gid, hdr.Size, hdr.Linkname, hdr.ModTime.Unix())
	}
}

func TestMediaTypes(t *testing.T) {
	ctx := t.Context()
	cs := newStore(t)
	d := differ.New(cs, differ.Config{})
	l := newLayers(t)
	at(t, l.push(), func(root string) { mutate(t, 7, root, 40) })
	var diffID digest.Digest
	for _, mt := range []string{
		"", ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
		images.MediaTypeDockerSchema2Layer, images.MediaTypeDockerSchema2LayerGzip, images.MediaTypeDockerSchema2LayerZstd,
	} {
		var opts []diff.Opt
		if mt != "" {
			opts = append(opts, diff.WithMediaType(mt))
		}
		desc, err := d.Compare(ctx, nil, l.mounts(1), opts...)
		if err != nil {
			t.Fatal(mt, err)
		}
		info, err := cs.Info(ctx, desc.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if diffID == "" {
			diffID = digest.Digest(info.Labels[labels.LabelUncompressed])
		}
		if got := info.Labels[labels.LabelUncompressed]; got != diffID.String() || diffID.Validate() != nil {
			t.Errorf("%q: label %q", mt, got)
		}
		applied, err := d.Apply(ctx, desc, newLayers(t).push())
		if err != nil {
			t.Fatal(mt, err)
		}
		if applied.Digest != diffID || applied.MediaType != ocispec.MediaTypeImageLayer {
			t.Errorf("%q applies to %+v", mt, applied)
		}
	}
	for _, mt := range []string{"application/octet-stream", images.MediaTypeDockerSchema2LayerForeign, images.MediaTypeErofsLayer} {
		if _, err := d.Compare(ctx, nil, l.mounts(1), diff.WithMediaType(mt)); !errdefs.IsNotImplemented(err) {
			t.Errorf("compare %s: %v", mt, err)
		}
	}
	desc := ocispec.Descriptor{MediaType: images.MediaTypeErofsLayer, Digest: diffID, Size: 1}
	if _, err := d.Apply(ctx, desc, newLayers(t).push()); !errdefs.IsNotImplemented(err) {
		t.Errorf("apply %s: %v", desc.MediaType, err)
	}
}

func TestCompareOptions(t *testing.T) {
	ctx := t.Context()
	cs := newStore(t)
	d := differ.New(cs, differ.Config{})
	l := newLayers(t)
	at(t, l.push(), func(root string) { mutate(t, 8, root, 40) })

	epoch := base.Add(100 * time.Second)
	layer, err := d.CompareLayer(ctx, nil, l.mounts(1), differ.CompareOptions{Diff: []diff.Opt{
		diff.WithReference("my-ref"), diff.WithLabels(map[string]string{"mine": "yes"}), diff.WithSourceDateEpoch(&epoch),
	}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := cs.Info(ctx, layer.Descriptor.Digest)
	if err != nil || info.Labels["mine"] != "yes" || info.Labels[labels.LabelUncompressed] != layer.DiffID.String() {
		t.Error("labels", info.Labels, err)
	}
	late := 0
	for _, e := range layer.Index.Entries() {
		if e.Time().After(epoch) {
			t.Errorf("%s is of %s", e.Path, e.Time())
		}
		if e.Time().Equal(epoch) {
			late++
		}
	}
	if late == 0 {
		t.Error("nothing was clamped")
	}

	var seen string
	upper := func(dest io.Writer, mediaType string) (io.WriteCloser, error) {
		seen = mediaType
		return struct {
			io.Writer
			io.Closer
		}{dest, io.NopCloser(nil)}, nil
	}
	if _, err := d.Compare(ctx, nil, l.mounts(1), diff.WithCompressor(upper)); !errdefs.IsInvalidArgument(err) {
		t.Error("compressor without media type:", err)
	}
	desc, err := d.Compare(ctx, nil, l.mounts(1), diff.WithCompressor(upper), diff.WithMediaType("application/x-own"))
	if err != nil || seen != "application/x-own" || desc.MediaType != seen {
		t.Error("own compressor:", seen, desc.MediaType, err)
	}
}

func TestCompareIsDeterministic(t *testing.T) {
	l := newLayers(t)
	at(t, l.push(), func(root string) {
		mutate(t, 9, root, 60)
		if err := os.WriteFile(filepath.Join(root, "big"), bytes.Repeat([]byte("0123456789abcdef\n"), 200_000), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	for _, mt := range []string{ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd} {
		seen := map[digest.Digest]bool{}
		for _, procs := range []int{1, 2, 2} {
			old := runtime.GOMAXPROCS(procs)
			layer, err := differ.New(newStore(t), differ.Config{}).CompareLayer(t.Context(), nil, l.mounts(1), differ.CompareOptions{MediaType: mt})
			runtime.GOMAXPROCS(old)
			if err != nil {
				t.Fatal(err)
			}
			seen[layer.Descriptor.Digest] = true
		}
		if len(seen) != 1 {
			t.Errorf("%s: %d different blobs of one layer", mt, len(seen))
		}
	}
}

func TestApplyReportsProgressAndSyncs(t *testing.T) {
	d := differ.New(newStore(t), differ.Config{})
	l := newLayers(t)
	at(t, l.push(), func(root string) { mutate(t, 10, root, 60) })
	desc, err := d.Compare(t.Context(), nil, l.mounts(1))
	if err != nil {
		t.Fatal(err)
	}
	var states []int64
	progress := diff.WithProgress(func(_ ocispec.Descriptor, n int64) { states = append(states, n) })
	if _, err := d.Apply(t.Context(), desc, newLayers(t).push(), progress, diff.WithSyncFs(true)); err != nil {
		t.Fatal(err)
	}
	if len(states) < 2 || states[0] != 0 || states[len(states)-1] != desc.Size || !slices.IsSorted(states) {
		t.Errorf("progress %v of %d", states, desc.Size)
	}
}

func TestApplyFailsOnDamage(t *testing.T) {
	cs := newStore(t)
	d := differ.New(cs, differ.Config{})
	l := newLayers(t)
	at(t, l.push(), func(root string) { mutate(t, 11, root, 60) })
	desc, err := d.Compare(t.Context(), nil, l.mounts(1))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := content.ReadBlob(t.Context(), cs, desc)
	if err != nil {
		t.Fatal(err)
	}
	cut := blob[:len(blob)-20]
	bad := ocispec.Descriptor{MediaType: desc.MediaType, Digest: digest.FromBytes(cut), Size: int64(len(cut))}
	if err := content.WriteBlob(t.Context(), cs, "cut", bytes.NewReader(cut), bad); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Apply(t.Context(), bad, newLayers(t).push()); err == nil {
		t.Error("a truncated blob was applied")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Apply(cancelled, desc, newLayers(t).push()); err == nil {
		t.Error("a cancelled call succeeded")
	}
}
