package ref

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func ids(list []Usage) string {
	var out []string
	for _, u := range list {
		out = append(out, u.Description)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestUsage(t *testing.T) {
	f := newFixture(t, hostOptions{}, func(c *Config) {
		n := 0
		c.NewID = func() string { n++; return "id" + strings.Repeat("x", n) }
	})
	ctx := t.Context()
	base := f.layer(nil, files{"a": strings.Repeat("x", 50_000)}, WithDescription("base"))
	top := f.layer(base, files{"b": "2"}, WithDescription("top"), WithRecordType(TypeFrontend))
	f.keep(top)
	loose := f.layer(nil, files{"c": "3"}, WithDescription("loose"))
	active, err := f.Prepare(ctx, loose, WithDescription("active"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := top.Layers(ctx, LayerOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	baseID := base.ID()
	f.release(base)
	for _, test := range []struct {
		filters []string
		want    string
	}{
		{nil, "active base loose top"},
		{[]string{"immutable"}, "base loose top"},
		{[]string{"mutable"}, "active"},
		{[]string{"type==frontend"}, "top"},
		{[]string{"type==frontend", "mutable"}, "active top"},
		{[]string{"type==regular,immutable"}, "base loose"},
		{[]string{"id==" + baseID}, "base"},
		{[]string{"parents==" + baseID}, "top"},
		{[]string{"parents~=x"}, "active top"},
		{[]string{"description==loose"}, "loose"},
		{[]string{"inuse"}, "active base loose top"},
		{[]string{"shared"}, ""},
		{[]string{"private,immutable,type!=frontend"}, "base loose"},
	} {
		list, err := f.Usage(ctx, test.filters)
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(list); got != test.want {
			t.Errorf("%q: %s, want %s", test.filters, got, test.want)
		}
	}
	if _, err := f.Usage(ctx, []string{"=="}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad filter: %v", err)
	}
	list, err := f.Usage(ctx, []string{"description==base"})
	if err != nil {
		t.Fatal(err)
	}
	if s := list[0].Size; s < 50_000 || s > 120_000 {
		t.Errorf("size %d", s)
	}
	if err := active.Discard(ctx); err != nil {
		t.Fatal(err)
	}
	f.release(top, loose)
	list, err = f.Usage(ctx, nil)
	if err != nil || ids(list) != "base top" || list[0].InUse || list[1].InUse || list[1].LastUsedAt == nil {
		t.Errorf("after release: %+v, %v", list, err)
	}
}

// pruned returns the descriptions of what a Prune removed, in order.
func (f *fixture) pruned(o PruneOptions) string {
	f.t.Helper()
	var out []string
	if err := f.Prune(f.t.Context(), o, func(u Usage) { out = append(out, u.Description) }); err != nil {
		f.t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestPrune(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	shared := ""
	f := newFixture(t, hostOptions{}, func(c *Config) {
		c.Now = func() time.Time { return now }
		c.DiskFree = func() (int64, error) { return 1 << 20, nil }
		c.External = func(context.Context) (func(Info) bool, error) {
			return func(i Info) bool { return i.Description == shared }, nil
		}
	})
	const size = 100_000
	make := func(name string, parent *Ref, opts ...Option) *Ref {
		now = now.Add(time.Minute)
		r := f.layer(parent, files{name: strings.Repeat("x", size)}, append(opts, WithDescription(name), WithKeep())...)
		return r
	}
	fill := func() {
		a := make("a", nil)
		b := make("b", a)
		c := make("c", nil, WithRecordType(TypeInternal))
		d := make("d", nil)
		for _, r := range []*Ref{a, b, c, d} {
			now = now.Add(time.Minute)
			f.release(r)
		}
		now = now.Add(time.Hour)
		if r, err := f.Get(t.Context(), a.ID()); err != nil {
			t.Fatal(err)
		} else {
			f.release(r)
		}
		now = now.Add(time.Hour)
	}
	fill()
	for _, test := range []struct {
		name   string
		opt    PruneOptions
		shared string
		want   string
	}{
		{"recent", PruneOptions{All: true, KeepDuration: 24 * time.Hour}, "", ""},
		{"used since", PruneOptions{KeepDuration: 90 * time.Minute}, "", "b d"},
		{"not internal", PruneOptions{}, "", "b d a"},
		{"filter", PruneOptions{All: true, Filters: []string{"description==d", "description==a"}}, "", "d"},
		{"nothing shared", PruneOptions{}, "b", "d"},
		{"all", PruneOptions{All: true}, "b", "b c d a"},
		{"enough space", PruneOptions{All: true, MaxUsedSpace: 10 * size}, "", ""},
		{"one too many", PruneOptions{All: true, MaxUsedSpace: 4 * size}, "", "b"},
		{"reserved", PruneOptions{All: true, ReservedSpace: 100 * size}, "", ""},
		{"down to reserve", PruneOptions{All: true, MaxUsedSpace: 1, ReservedSpace: 3 * size}, "", "b c"},
		{"free", PruneOptions{All: true, MinFreeSpace: 1<<20 + size/2}, "", "b"},
		{"free already", PruneOptions{All: true, MinFreeSpace: 1 << 20}, "", ""},
	} {
		shared = test.shared
		if got := f.pruned(test.opt); got != test.want {
			t.Errorf("%s: removed %q, want %q", test.name, got, test.want)
		}
		f.pruned(PruneOptions{All: true})
		if l := f.left(); l != (left{}) {
			t.Errorf("%s: left behind: %+v", test.name, l)
		}
		fill()
	}
}

func TestRead(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := t.Context()
	base := f.layer(nil, files{"d/f": "hello", "d/g": "", "abs": "->/d/f", "out": "->../../../../../../etc/hostname"})
	r := f.layer(base, files{"d/h": "x"})
	defer f.release(base, r)
	for _, test := range []struct {
		path        string
		offset, len int64
		want        string
	}{{"/d/f", 0, 0, "hello"}, {"d/f", 1, 3, "ell"}, {"abs", 4, 100, "o"}, {"d/f", 100, 1, ""}, {"d/../d/f", 0, 1, "h"}} {
		got, err := r.ReadFile(ctx, test.path, test.offset, test.len)
		if err != nil || string(got) != test.want {
			t.Errorf("%+v: %q, %v", test, got, err)
		}
	}
	for _, p := range []string{"none", "out", "/etc/passwd"} {
		if _, err := r.ReadFile(ctx, p, 0, 0); !errdefs.IsNotFound(err) || strings.Contains(err.Error(), f.cfg.Root) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := r.ReadFile(ctx, "d", 0, 0); !errdefs.IsInvalidArgument(err) {
		t.Errorf("directory: %v", err)
	}
	st, err := r.Stat(ctx, "abs")
	if err != nil || st.Linkname != "/d/f" || st.Path != "abs" || st.Size != 4 {
		t.Errorf("stat of link: %v, %v", st, err)
	}
	if st, err = r.Stat(ctx, "d/f"); err != nil || st.Size != 5 || st.Mode != 0o644 {
		t.Errorf("stat of file: %v, %v", st, err)
	}
	list, err := r.ReadDir(ctx, "/d", "")
	if err != nil || len(list) != 3 || list[0].Path != "f" {
		t.Errorf("directory: %v, %v", list, err)
	}
	if list, err = r.ReadDir(ctx, "/d", "[gh]"); err != nil || len(list) != 2 {
		t.Errorf("pattern: %v, %v", list, err)
	}
	var scratch *Ref
	if list, err = scratch.ReadDir(ctx, "/", ""); err != nil || len(list) != 0 {
		t.Errorf("directory of nothing: %v, %v", list, err)
	}
	if _, err := scratch.ReadFile(ctx, "Dockerfile", 0, 0); !errdefs.IsNotFound(err) || !strings.HasPrefix(err.Error(), "open Dockerfile: no such file or directory") {
		t.Errorf("file of nothing: %v", err)
	}
}
