package history_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/history"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
)

// traces gives every build the same trace.
type traces struct{ records, takes chan struct{} }

func newTraces() traces { return traces{make(chan struct{}, 9), make(chan struct{}, 9)} }

// Record counts.
func (tr traces) Record(context.Context) { tr.records <- struct{}{} }

// Take counts.
func (tr traces) Take(context.Context) ([]byte, error) {
	tr.takes <- struct{}{}
	return []byte("{}"), nil
}

// record returns the stored record of a build.
func record(t *testing.T, s *history.Store, ref string) *control.BuildHistoryRecord {
	t.Helper()
	var out *control.BuildHistoryRecord
	err := s.Listen(t.Context(), &control.BuildHistoryRequest{Ref: ref, EarlyExit: true}, func(ev *control.BuildHistoryEvent) error {
		out = ev.GetRecord()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// read returns a blob of the history.
func read(t *testing.T, from content.Store, desc *control.Descriptor) []byte {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "test_history")
	data, err := content.ReadBlob(ctx, from, ocispecs.Descriptor{Digest: digest.Digest(desc.GetDigest()), Size: desc.GetSize()})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestErrorsAreKeptWhole: the record has the text, a blob the details.
func TestErrorsAreKeptWhole(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	s, blobs := openWith(t, t.TempDir(), func(cfg *history.Config) { cfg.Now = func() time.Time { return c.now } })
	run(t, s, c, "bad", &solver.ExitError{Code: 3, Err: errors.New("exit code: 3")})
	rec := record(t, s, "bad")
	if rec.GetError().GetMessage() != "exit code: 3" || len(rec.GetError().GetDetails()) != 0 {
		t.Errorf("the record says %v", rec.GetError())
	}
	var whole status.Status
	if err := proto.Unmarshal(read(t, blobs, rec.GetExternalError()), &whole); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range whole.GetDetails() {
		names = append(names, d.GetTypeUrl()[strings.LastIndex(d.GetTypeUrl(), "/")+1:])
	}
	if !slices.Equal(names, []string{"gatewayapi.ExitMessage+json", "stack.Stack+json"}) {
		t.Errorf("details %q", names)
	}
	if rec.GetNumTotalSteps() != 0 || rec.GetLogs().GetMediaType() != "application/vnd.buildkit.status.v0" {
		t.Errorf("record %v", rec)
	}
}

// TestFinalize: the trace comes when it is asked for, and changes the record.
func TestFinalize(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	tr := newTraces()
	s, blobs := openWith(t, t.TempDir(), func(cfg *history.Config) {
		cfg.Traces, cfg.FinalizeAfter, cfg.Now = tr, time.Hour, func() time.Time { return c.now }
	})
	run(t, s, c, "b", nil)
	if rec := record(t, s, "b"); rec.GetTrace() != nil || rec.GetGeneration() != 0 {
		t.Fatalf("before: %v", rec)
	}
	for range 2 { // The second time there is nothing to do.
		if err := s.Update(t.Context(), &control.UpdateBuildHistoryRequest{Ref: "b", Finalize: true}); err != nil {
			t.Fatal(err)
		}
	}
	rec := record(t, s, "b")
	if rec.GetGeneration() != 1 || rec.GetTrace().GetMediaType() != "application/vnd.buildkit.otlp.json.v0" {
		t.Fatalf("after: %v", rec)
	}
	if got := read(t, blobs, rec.GetTrace()); string(got) != "{}" {
		t.Errorf("trace %q", got)
	}
	if len(tr.records) != 1 || len(tr.takes) != 1 {
		t.Errorf("%d recordings, %d taken", len(tr.records), len(tr.takes))
	}
}

// TestFollowedRecordsGoLater: a record that somebody follows is hidden at once
// and deleted when he leaves.
func TestFollowedRecordsGoLater(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	s, blobs := openWith(t, t.TempDir(), func(cfg *history.Config) { cfg.Now = func() time.Time { return c.now } })
	for _, id := range []string{"a", "b"} {
		run(t, s, c, id, nil)
	}
	log := record(t, s, "a").GetLogs()
	ctx, cancel := context.WithCancel(t.Context())
	seen, done := make(chan struct{}, 9), make(chan error, 1)
	go func() {
		done <- s.Listen(ctx, &control.BuildHistoryRequest{Ref: "a"}, func(*control.BuildHistoryEvent) error {
			seen <- struct{}{}
			return nil
		})
	}()
	<-seen
	if err := s.Update(t.Context(), &control.UpdateBuildHistoryRequest{Ref: "a", Delete: true}); err != nil {
		t.Fatal(err)
	}
	equal(t, "hidden", list(t, s, &control.BuildHistoryRequest{Limit: 10}), "b")
	if err := s.Listen(t.Context(), &control.BuildHistoryRequest{Ref: "a"}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("following a deleted record gives %v", err)
	}
	read(t, blobs, log)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("listening ends with %v", err)
	}
	equal(t, "gone", list(t, s, &control.BuildHistoryRequest{}), "b")
	if err := s.Replay(t.Context(), "a", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("replaying a deleted build gives %v", err)
	}
}

// TestOutputsAreKept: manifests are read from the history's own namespace when
// the builder has pruned them.
func TestOutputsAreKept(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	s, blobs := openWith(t, t.TempDir(), func(cfg *history.Config) { cfg.Now = func() time.Time { return c.now } })
	ctx := namespaces.WithNamespace(t.Context(), "test")
	put := func(media, text string) ocispecs.Descriptor {
		t.Helper()
		d := ocispecs.Descriptor{MediaType: media, Digest: digest.FromString(text), Size: int64(len(text))}
		if err := content.WriteBlob(ctx, blobs, text, bytes.NewReader([]byte(text)), d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	config := put(ocispecs.MediaTypeImageConfig, "{}")
	layer := put(ocispecs.MediaTypeImageLayer, "layer")
	manifest := put(ocispecs.MediaTypeImageManifest, `{"schemaVersion":2,"config":{"mediaType":"`+config.MediaType+`","digest":"`+config.Digest.String()+
		`","size":2},"layers":[{"mediaType":"`+layer.MediaType+`","digest":"`+layer.Digest.String()+`","size":5}]}`)
	stream := progress.NewStream(progress.StreamConfig{Interval: -1})
	stream.Close()
	rec := &build.Record{Request: &build.Request{ID: "b"}, Started: c.now, Completed: c.now, Outputs: map[int]ocispecs.Descriptor{0: manifest}}
	s.Ended(t.Context(), rec, stream.Reader())
	record(t, s, "b")
	own := namespaces.WithNamespace(t.Context(), "test_history")
	for _, d := range []ocispecs.Descriptor{manifest, config} {
		if _, err := blobs.Info(own, d.Digest); err != nil {
			t.Errorf("%s: %v", d.MediaType, err)
		}
	}
	if _, err := blobs.Info(own, layer.Digest); err == nil {
		t.Error("the layer is kept, too")
	}
}

// TestPredicates: what attesters say for the record can be read, part by part,
// and one of them that fails costs nothing but itself.
func TestPredicates(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	s, blobs := openWith(t, t.TempDir(), func(cfg *history.Config) { cfg.Now = func() time.Time { return c.now } })
	says := func(text string, err error) func() ([]byte, error) {
		return func() ([]byte, error) { return []byte(text), err }
	}
	stream := progress.NewStream(progress.StreamConfig{Interval: -1})
	stream.Close()
	rec := &build.Record{
		Request: &build.Request{ID: "b"}, Started: c.now, Completed: c.now, Err: errors.New("export failed"),
		Predicates: []build.Predicate{
			{Type: "https://x/1", Data: says("1", nil)}, {Type: "https://x/2", Data: says("", errors.New("broken"))},
			{Platform: "linux/arm64", Type: "https://x/3", Data: says("3", nil)},
		},
		Metadata: map[string][]byte{"k": []byte("v"), "large": make([]byte, 1<<20), "binary": {0xff}},
	}
	s.Ended(t.Context(), rec, stream.Reader())
	got := record(t, s, "b")
	if len(got.GetResult().GetAttestations()) != 1 || len(got.GetResults()) != 1 {
		t.Fatalf("record is %v", got)
	}
	for _, want := range []struct {
		desc       *control.Descriptor
		kind, text string
	}{
		{got.GetResult().GetAttestations()[0], "https://x/1", "1"},
		{got.GetResults()["linux/arm64"].GetAttestations()[0], "https://x/3", "3"},
	} {
		if want.desc.GetMediaType() != "application/vnd.in-toto+json" || want.desc.GetAnnotations()["in-toto.io/predicate-type"] != want.kind {
			t.Errorf("descriptor is %v", want.desc)
		}
		if text := read(t, blobs, want.desc); string(text) != want.text {
			t.Errorf("%s says %s", want.kind, text)
		}
	}
	if v := got.GetExporterResponse(); len(v) != 1 || v["k"] != "v" {
		t.Errorf("response is %v", v)
	}
}
