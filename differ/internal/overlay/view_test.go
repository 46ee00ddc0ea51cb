package overlay

import (
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
)

func TestParseView(t *testing.T) {
	ovl := func(options ...string) []mount.Mount {
		return []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}}
	}
	for _, c := range []struct {
		name   string
		mounts []mount.Mount
		ok     bool
		dirs   []string
		upper  string
		attrs  Attrs
	}{
		{"none", nil, true, nil, "", DefaultAttrs()},
		{"bind", []mount.Mount{{Type: "bind", Source: "/a", Options: []string{"rbind", "rw"}}}, true, []string{"/a"}, "/a", DefaultAttrs()},
		{"read-only bind", []mount.Mount{{Type: "bind", Source: "/a", Options: []string{"rbind", "ro"}}}, true, []string{"/a"}, "", DefaultAttrs()},
		{"overlay", ovl("index=off", "workdir=/w", "upperdir=/u", "lowerdir=/b:/a"), true, []string{"/u", "/b", "/a"}, "/u", DefaultAttrs()},
		{"read-only overlay", ovl("lowerdir=/b:/a"), true, []string{"/b", "/a"}, "", DefaultAttrs()},
		{"user attributes", ovl("userxattr", "lowerdir=/b:/a"), true, []string{"/b", "/a"}, "", UserAttrs},
		{"new mount API", ovl("lowerdir+=/b", "lowerdir+=/a:c", "upperdir=/u"), true, []string{"/u", "/b", "/a:c"}, "/u", DefaultAttrs()},
		{"escaped colon", ovl(`lowerdir=/b\:c:/a`), true, []string{"/b:c", "/a"}, "", DefaultAttrs()},
		{"data-only layers", ovl("lowerdir=/b::/a"), false, nil, "", ""},
		{"id mapping", ovl("uidmap=0:1:2", "lowerdir=/b"), false, nil, "", ""},
		{"no lower", ovl("upperdir=/u"), false, nil, "", ""},
		{"template", []mount.Mount{{Type: "format/overlay"}}, false, nil, "", ""},
		{"two mounts", append(ovl("lowerdir=/b"), mount.Mount{Type: "bind", Source: "/x"}), false, nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, ok := ParseView(c.mounts)
			if ok != c.ok {
				t.Fatalf("ok is %v", ok)
			}
			if ok && (!slices.Equal(v.Dirs, c.dirs) || v.Upper != c.upper || v.Attrs != c.attrs) {
				t.Errorf("view %+v", v)
			}
		})
	}
}

func TestDelta(t *testing.T) {
	view := func(dirs ...string) View { return View{Dirs: dirs} }
	for _, c := range []struct {
		lower, upper View
		want         string
	}{
		{view(), view("a"), "a"},
		{view("a"), view("b", "a"), "b"},
		{view("b", "a"), view("c", "b", "a"), "c"},
		{view("a"), view("b", "x"), ""},
		{view("a"), view("a"), ""},
		{view("a"), view("c", "b", "a"), ""},
		{View{Overlay: true, Attrs: UserAttrs, Dirs: []string{"a"}}, View{Overlay: true, Attrs: TrustedAttrs, Dirs: []string{"b", "a"}}, ""},
	} {
		if got, ok := Delta(c.lower, c.upper); got != c.want || ok != (c.want != "") {
			t.Errorf("%v to %v is %q", c.lower.Dirs, c.upper.Dirs, got)
		}
	}
}
