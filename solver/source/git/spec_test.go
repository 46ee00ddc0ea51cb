package git

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/source"
)

func TestParseRemote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://github.com/a/b.git":             "https://github.com/a/b.git",
		"HTTPS://h:8443/a b?x=y#main:d":          "https://h:8443/a%20b",
		"http://me:pw@[::1]:80/r":                "http://[::1]:80/r",
		"ssh://git:pw@h/r.git":                   "ssh://git@h/r.git",
		"git://h/r":                              "git://h/r",
		"git@github.com:a/b.git#v1":              "git@github.com:a/b.git",
		"file:///etc":                            "",
		"ext::sh -c id":                          "",
		"ext://x/y":                              "",
		"/etc":                                   "",
		"":                                       "",
		"https://":                               "",
		"ssh://-oProxyCommand=id/x":              "",
		"ssh://h/-x":                             "",
		"ssh://-x@h/r":                           "",
		"-x@h:r":                                 "",
		"a@-h:r":                                 "",
		"a@h:-r":                                 "",
		"https://h/a\nb":                         "",
		"git://h/a%0ab":                          "",
		"https://h/" + strings.Repeat("x", 5000): "",
	} {
		r, _, err := parseRemote(in)
		if r.url != want || (err == nil) != (want != "") || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%.60q: %q %v, want %q", in, r.url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%v", err)
		}
	}
}

func TestResolveURL(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"https://h/g/r.git", "../s.git", "https://h/g/s.git"}, {"https://h/g/r.git/", "./s", "https://h/g/r.git/s"},
		{"https://h/g/r.git", "../../s", "https://h/s"}, {"https://h/r", "../../s", ""}, {"https://h/r", "../../../s", ""},
		{"git@h:g/r", "../s", "git@h:g/s"}, {"git@h:r", "../s", "git@h:s"}, {"https://h/r", "git@x:y", "git@x:y"}, {"https://h/r", "s", ""},
	} {
		base, _, err := parseRemote(c[0])
		if err != nil {
			t.Fatal(err)
		}
		got, err := base.resolve(c[1])
		if got.url != c[2] || (err == nil) != (c[2] != "") {
			t.Errorf("%s in %s: %q %v, want %q", c[1], c[0], got.url, err, c[2])
		}
	}
}

func TestParseSpec(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][3]string{
		"github.com/a/b#main:d/e":      {"https://github.com/a/b", "main", "d/e"},
		"github.com/a/b":               {"https://github.com/a/b", "", ""},
		"git@github.com:a/b.git#:../x": {"git@github.com:a/b.git", "", "x"},
		"ssh://git@h/r#v1:":            {"ssh://git@h/r", "v1", ""},
	} {
		sp, err := parseSpec(source.Identifier{Scheme: "git", Ref: in})
		if err != nil || [3]string{sp.remote.url, sp.ref, sp.subdir} != want {
			t.Errorf("%s: %+v %v", in, sp, err)
		}
	}
	sp, err := parseSpec(source.Identifier{Ref: "h/r#x", Attrs: map[string]string{"git.fullurl": "h/other", "git.knownsshhosts": "k"}})
	if err != nil || sp.remote.url != "https://h/other" || sp.ref != "x" || sp.knownHosts != "k" {
		t.Errorf("%+v %v", sp, err)
	}
	for _, ref := range []string{"-x", "--upload-pack=id", "a..b", "a b", "a:b:c^", "x~1", "x^{}", "@{u}", "@", "a*", "a[b", `a\b`, "a.lock", ".a", "a/.b", "/a", "a/", "a//b", "a\x01", strings.Repeat("r", 2000)} {
		if err := checkRef(ref); !errdefs.IsInvalidArgument(err) {
			t.Errorf("ref %.20q: %v", ref, err)
		}
	}
	for attr, v := range map[string]string{
		"git.fullurl": "file:///etc", "git.checksum": "xyz", "git.mtime": "now", "git.knownsshhosts": strings.Repeat("x", maxKnownHosts+1),
	} {
		if _, err := parseSpec(source.Identifier{Ref: "h/r", Attrs: map[string]string{attr: v}}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", attr, err)
		}
	}
	locator := "oci-layout+blob://x@sha256:" + strings.Repeat("a", 64)
	commit := strings.Repeat("b", 40)
	for _, attrs := range []map[string]string{
		{"git.bundle": "x", "git.checksum": commit},
		{"git.bundle": locator},
		{"git.bundle": locator, "git.checksum": "abc"},
		{"git.checkoutbundle": "true", "git.keepgitdir": "true"},
		{"git.sig.requiresignedtag": "true"},
		{"git.sig.pubkey": "k", "git.sig.requiresignedtag": "true", "git.sig.ignoresignedtag": "true"},
	} {
		if _, err := parseSpec(source.Identifier{Ref: "h/r", Attrs: attrs}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", attrs, err)
		}
	}
	if _, err := parseSpec(source.Identifier{Ref: "h/r#main:sub", Attrs: map[string]string{"git.checkoutbundle": "true"}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bundle of a subdirectory: %v", err)
	}
}

// TestKey compares with keys of the wire facts.
func TestKey(t *testing.T) {
	t.Parallel()
	r := resolved{Ref: "refs/tags/v1", Checksum: "tag", CommitChecksum: "commit"}
	for want, sp := range map[string]spec{
		"commit":                               {},
		"tag.git#refs/tags/v1":                 {keepGitDir: true},
		"commit:d/e(skip-submodules)":          {subdir: "d/e", skipSubmodules: true},
		"tag.git#refs/tags/v1:d(mtime=commit)": {keepGitDir: true, subdir: "d", commitTime: true},
	} {
		if got := sp.key(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func FuzzParseRemote(f *testing.F) {
	for _, s := range []string{"https://a:b@c/d#e:f", "git@h:p?q#r", "ssh://u@[::1]:22/p", "ext::x", "h/r#-x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, fragment, err := parseRemote(s)
		if err != nil {
			return
		}
		if !protocols[r.scheme] || strings.HasPrefix(r.url, "-") || strings.ContainsFunc(r.url, isControl) {
			t.Errorf("%q is %+v", s, r)
		}
		again, _, err := parseRemote(r.url)
		if err != nil || again.url != r.url {
			t.Errorf("%q becomes %q, then %q (%v)", s, r.url, again.url, err)
		}
		if _, subdir := splitFragment(fragment); strings.HasPrefix(subdir, "/") || strings.Contains("/"+subdir+"/", "/../") {
			t.Errorf("subdir %q", subdir)
		}
	})
}

func FuzzAdvertisement(f *testing.F) {
	f.Add("ref: refs/heads/main\tHEAD\n"+strings.Repeat("0", 40)+"\tHEAD\n", "main")
	f.Fuzz(func(t *testing.T, out, name string) {
		refs, _ := parseAdvertisement(out)
		if r, err := choose(refs, name); err == nil && !isCommit(r.Checksum) {
			t.Errorf("%+v", r)
		}
	})
}
