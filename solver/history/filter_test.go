package history

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kilnbuild/kiln/solver/pb/control"
)

var now = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestFilters(t *testing.T) {
	at := func(ago time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-ago)) }
	records := []*control.BuildHistoryRecord{
		{Ref: "good", CreatedAt: at(3 * time.Hour), CompletedAt: at(2 * time.Hour), FrontendAttrs: map[string]string{"vcs:source": "https://host/a.git"}},
		{Ref: "bad", CreatedAt: at(time.Hour), CompletedAt: at(50 * time.Minute), Error: &statuspb.Status{Code: 2, Message: "no"},
			FrontendAttrs: map[string]string{"context": "https://host/b.git#main:dir"}},
		{Ref: "stopped", CreatedAt: at(time.Minute), CompletedAt: at(0), Error: &statuspb.Status{Code: 1}},
		{Ref: "running", CreatedAt: at(time.Second), FrontendAttrs: map[string]string{"context": "https://host/page.html"}},
	}
	for _, tt := range []struct {
		filters []string
		want    string
	}{
		{nil, "good bad stopped running"},
		{[]string{"status==completed"}, "good"},
		{[]string{"status==error", "status==canceled"}, "bad stopped"},
		{[]string{"status!=running,startedAt<30m"}, "good bad"},
		{[]string{"startedAt>=1h"}, "bad stopped running"},
		{[]string{"startedAt<=2026-01-02T09:00:00Z"}, "good"},
		{[]string{"completedAt>1h"}, "bad stopped"},
		{[]string{"duration>=1h"}, "good"},
		{[]string{"duration<5m"}, "stopped"},
		{[]string{"repository==https://host/b.git"}, "bad"},
		{[]string{"repository~=host"}, "good bad"},
		{[]string{"ref~=^[gb]"}, "good bad"},
	} {
		match, err := parseFilters(tt.filters, now)
		if err != nil {
			t.Errorf("%q: %v", tt.filters, err)
			continue
		}
		var got []string
		for _, r := range records {
			if match(r) {
				got = append(got, r.GetRef())
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q: got %q, want %s", tt.filters, got, tt.want)
		}
	}
}

func TestBadFilters(t *testing.T) {
	for _, text := range []string{"startedAt>soon", "duration<2026-01-02T09:00:00Z", "status==", "\"open", strings.Repeat("a", 5000)} {
		if _, err := parseFilters([]string{text}, now); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%.30q: %v", text, err)
		}
	}
	if _, err := parseFilters(make([]string, 101), now); err == nil {
		t.Error("101 filters are taken")
	}
}

// FuzzFilter: no text that a client sends does harm.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{"status==error", "startedAt>=1h,duration<5m", "completedAt<2026-01-02T09:00:00Z", "\"ref==a,b\"", "<", "ref~=("} {
		f.Add(text)
	}
	rec := &control.BuildHistoryRecord{Ref: "r", CreatedAt: timestamppb.New(now)}
	f.Fuzz(func(_ *testing.T, text string) {
		if match, err := parseFilters([]string{text}, now); err == nil {
			match(rec)
		}
	})
}
