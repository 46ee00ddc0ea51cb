package history_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/history"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
)

// clock is set by tests.
type clock struct{ now time.Time }

// open opens a history over a content store of its own below root.
func open(t *testing.T, root string, c *clock, entries int) *history.Store {
	t.Helper()
	s, _ := openWith(t, root, func(cfg *history.Config) { cfg.MaxEntries, cfg.Now = entries, func() time.Time { return c.now } })
	return s
}

// openWith opens a history that set adjusts, and returns its content store.
func openWith(t *testing.T, root string, set func(*history.Config)) (*history.Store, content.Store) {
	t.Helper()
	meta, err := bolt.Open(filepath.Join(root, "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		t.Fatal(err)
	}
	db := metadata.NewDB(meta, blobs, nil)
	if err := db.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := history.Config{
		Root: filepath.Join(root, "history"), MaxAge: time.Hour, Content: db.ContentStore(), Leases: metadata.NewLeaseManager(db),
		Namespace: "test_history", BuildNamespace: "test",
	}
	set(&cfg)
	s, err := history.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.WithoutCancel(t.Context())); meta.Close() })
	return s, db.ContentStore()
}

// run stores one build that said one line.
func run(t *testing.T, s *history.Store, c *clock, id string, err error) {
	t.Helper()
	rec := &build.Record{Request: &build.Request{ID: id, Frontend: "dockerfile.v0", Opts: map[string]string{"vcs:source": "git-" + id}}, Started: c.now}
	s.Started(rec)
	stream := progress.NewStream(progress.StreamConfig{Interval: -1})
	stream.Emit(solver.Event{Log: &solver.LogEvent{Vertex: digest.FromString(id), Timestamp: c.now, Stream: solver.Stdout, Data: []byte("says " + id)}})
	stream.Close()
	c.now = c.now.Add(time.Second)
	rec.Completed, rec.Err = c.now, err
	s.Ended(t.Context(), rec, stream.Reader())
}

// list returns the ids of stored records, newest first.
func list(t *testing.T, s *history.Store, req *control.BuildHistoryRequest) []string {
	t.Helper()
	req.EarlyExit = true
	var ids []string
	err := s.Listen(t.Context(), req, func(ev *control.BuildHistoryEvent) error {
		ids = append(ids, ev.GetRecord().GetRef())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: got %q, want %q", what, got, want)
		}
	}
}

func TestRecordsSurviveARestart(t *testing.T) {
	root, c := t.TempDir(), &clock{time.Unix(1_700_000_000, 0)}
	s := open(t, root, c, 10)
	run(t, s, c, "good", nil)
	run(t, s, c, "bad", errors.New("exit code: 1"))
	run(t, s, c, "stopped", context.Canceled)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	s = open(t, copied, c, 10)
	equal(t, "all", list(t, s, &control.BuildHistoryRequest{}), "stopped", "bad", "good")
	equal(t, "limit", list(t, s, &control.BuildHistoryRequest{Limit: 1}), "stopped")
	equal(t, "ref", list(t, s, &control.BuildHistoryRequest{Ref: "good"}), "good")
	equal(t, "failed", list(t, s, &control.BuildHistoryRequest{Filter: []string{"status==error"}}), "bad")
	equal(t, "either", list(t, s, &control.BuildHistoryRequest{Filter: []string{"status==canceled", "repository==git-good"}}), "stopped", "good")
	var text string
	err := s.Replay(t.Context(), "bad", func(m *control.StatusResponse) error {
		for _, l := range m.GetLogs() {
			text += string(l.GetMsg())
		}
		return nil
	})
	if err != nil || text != "says bad" {
		t.Errorf("the log is %q, error %v", text, err)
	}
	if err := s.Replay(t.Context(), "unknown", nil); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("replaying an unknown build gives %v", err)
	}
}

// TestResults: the first result is told twice, for clients of two ages.
func TestResults(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	s := open(t, t.TempDir(), c, 10)
	rec := &build.Record{Request: &build.Request{ID: "two"}, Started: c.now, Completed: c.now, Outputs: map[int]ocispecs.Descriptor{
		0: {Digest: digest.FromString("first"), Size: 1}, 1: {Digest: digest.FromString("second"), Size: 2},
	}}
	s.Started(rec)
	stream := progress.NewStream(progress.StreamConfig{Interval: -1})
	stream.Close()
	s.Ended(t.Context(), rec, stream.Reader())
	var got *control.BuildResultInfo
	err := s.Listen(t.Context(), &control.BuildHistoryRequest{EarlyExit: true}, func(ev *control.BuildHistoryEvent) error {
		got = ev.GetRecord().GetResult()
		return nil
	})
	if err != nil || len(got.GetResults()) != 2 || got.GetResultDeprecated().GetDigest() != digest.FromString("first").String() {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLimitsSparePinnedRecords(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	s := open(t, t.TempDir(), c, 2)
	for i := range 4 {
		run(t, s, c, strconv.Itoa(i), nil)
	}
	equal(t, "young records stay", list(t, s, &control.BuildHistoryRequest{}), "3", "2", "1", "0")
	if err := s.Update(t.Context(), &control.UpdateBuildHistoryRequest{Ref: "0", Pinned: true}); err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(2 * time.Hour)
	run(t, s, c, "4", nil)
	equal(t, "old records go", list(t, s, &control.BuildHistoryRequest{}), "4", "3", "0")
	if err := s.Update(t.Context(), &control.UpdateBuildHistoryRequest{Ref: "0", Delete: true}); err != nil {
		t.Fatal(err)
	}
	equal(t, "deleted", list(t, s, &control.BuildHistoryRequest{}), "4", "3")
	if err := s.Update(t.Context(), &control.UpdateBuildHistoryRequest{Ref: "0", Delete: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("deleting twice gives %v", err)
	}
}

func TestListenersFollow(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	s := open(t, t.TempDir(), c, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	running := &build.Record{Request: &build.Request{ID: "running"}, Started: c.now}
	s.Started(running)
	events := make(chan *control.BuildHistoryEvent, 10)
	done := make(chan error, 1)
	go func() {
		done <- s.Listen(ctx, &control.BuildHistoryRequest{}, func(ev *control.BuildHistoryEvent) error {
			events <- ev
			return nil
		})
	}()
	next := func(kind control.BuildHistoryEventType, ref string) {
		t.Helper()
		select {
		case ev := <-events:
			if ev.GetType() != kind || ev.GetRecord().GetRef() != ref {
				t.Fatalf("event %v of %s, want %v of %s", ev.GetType(), ev.GetRecord().GetRef(), kind, ref)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no event %v of %s", kind, ref)
		}
	}
	next(control.BuildHistoryEventType_STARTED, "running")
	run(t, s, c, "other", nil)
	next(control.BuildHistoryEventType_STARTED, "other")
	next(control.BuildHistoryEventType_COMPLETE, "other")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("listening ends with %v", err)
	}
}
