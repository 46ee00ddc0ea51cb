package compose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

const sum = digest.Digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

func TestSources(t *testing.T) {
	mode, uid, gid := uint32(0o644), 1, 0
	file := FileSource{Filename: "f", Mode: &mode, UID: &uid, GID: &gid}
	for name, test := range map[string]struct {
		state      State
		identifier string
		attrs      map[string]string
		caps       []string
	}{
		"image": {image("alpine"), "docker-image://docker.io/library/alpine:latest", nil, []string{"source.image"}},
		"image, all": {
			Image(ImageSource{Ref: "a/b@" + string(sum), ResolveMode: "pull", RecordType: "internal", LayerLimit: 2, Checksum: sum}, Info{}),
			"docker-image://docker.io/a/b@" + string(sum),
			map[string]string{"image.resolvemode": "pull", "image.recordtype": "internal", "image.layerlimit": "2", "image.checksum": string(sum)},
			[]string{"source.image", "source.image.resolvemode", "source.image.layerlimit", "source.image.checksum"},
		},
		"image, default mode": {
			Image(ImageSource{Ref: "a", ResolveMode: "default"}, Info{}), "docker-image://docker.io/library/a:latest",
			map[string]string{"image.resolvemode": "default"}, []string{"source.image"},
		},
		"layout": {
			Layout(LayoutSource{Ref: "x@" + string(sum), SessionID: "s", StoreID: "t", LayerLimit: 1}, Info{}), "oci-layout://x@" + string(sum),
			map[string]string{"oci.session": "s", "oci.store": "t", "oci.layerlimit": "1"}, []string{"source.ocilayout"},
		},
		"local": {
			Local(LocalSource{Name: "ctx"}, Info{}), "local://ctx",
			map[string]string{"local.unique": "u"}, []string{"source.local", "source.local.unique"},
		},
		"local, all": {
			Local(LocalSource{
				Name: "ctx", SessionID: "s", Include: []string{"a", "b"}, Exclude: []string{"<c>"}, FollowPaths: []string{"d"},
				SharedKeyHint: "h", Differ: "none", MetadataOnly: true, MetadataExcept: []string{"e"},
			}, Info{}), "local://ctx",
			map[string]string{
				"local.session": "s", "local.includepattern": `["a","b"]`, "local.excludepatterns": `["\u003cc\u003e"]`, "local.followpaths": `["d"]`,
				"local.sharedkeyhint": "h", "local.differ": "none", "local.metadatatransfer": "true", "local.metadatatransferexclude": `["e"]`,
			},
			[]string{
				"source.local", "source.local.sessionid", "source.local.includepatterns", "source.local.excludepatterns", "source.local.followpaths",
				"source.local.sharedkeyhint", "source.local.metadatatransfer",
			},
		},
		"http": {HTTP(HTTPSource{URL: "http://a/b"}, Info{}), "http://a/b", nil, []string{"source.http"}},
		"http, all": {
			HTTP(HTTPSource{URL: "https://a/b", File: file, Checksum: sum, AuthHeaderSecret: "s", Accept: "x", UserAgent: "y", PubKey: "k", Signature: "z"}, Info{}),
			"https://a/b",
			map[string]string{
				"http.filename": "f", "http.perm": "0644", "http.uid": "1", "http.gid": "0", "http.checksum": string(sum), "http.authheadersecret": "s",
				"http.header.accept": "x", "http.header.user-agent": "y", "http.sig.pubkey": "k", "http.sig.signature": "z",
			},
			[]string{
				"source.http", "source.http.perm", "soruce.http.uidgid", "source.http.checksum", "source.http.auth", "source.http.header",
				"source.http.signatureverify",
			},
		},
		"blob": {
			Blob(BlobSource{Ref: "a@" + string(sum), File: file, RecordType: "internal"}, Info{}), "docker-image+blob://a@" + string(sum),
			map[string]string{"http.filename": "f", "http.perm": "0644", "http.uid": "1", "http.gid": "0", "image.recordtype": "internal"},
			[]string{"source.imageblob"},
		},
		"layout blob": {
			Blob(BlobSource{Ref: "a@" + string(sum), Layout: true, SessionID: "s", StoreID: "t"}, Info{}), "oci-layout+blob://a@" + string(sum),
			map[string]string{"oci.session": "s", "oci.store": "t"}, []string{"source.imageblob"},
		},
		"git": {
			Git(GitSource{URL: "example.com/a/b.git"}, Info{}), "git://example.com/a/b.git",
			map[string]string{"git.fullurl": "https://example.com/a/b.git", "git.authtokensecret": "GIT_AUTH_TOKEN", "git.authheadersecret": "GIT_AUTH_HEADER"},
			[]string{"source.git", "source.git.fullurl"},
		},
		"git over ssh": {
			Git(GitSource{URL: "git@example.com:a/b.git", Subdir: "/c/", AuthTokenSecret: "T", AuthHeaderSecret: "H", KnownSSHHosts: "k"}, Info{}),
			"git://example.com/a/b.git#:c",
			map[string]string{
				"git.fullurl": "git@example.com:a/b.git", "git.authtokensecret": "T", "git.authheadersecret": "H", "git.knownsshhosts": "k",
				"git.mountsshsock": "default",
			},
			[]string{"source.git", "source.git.fullurl", "source.git.httpauth", "source.git.knownsshhosts", "source.git.mountsshsock"},
		},
		"git, all": {
			Git(GitSource{
				URL: "ssh://git@example.com:22/a", Ref: "main", Subdir: "d", KeepGitDir: true, Checksum: "0a", SkipSubmodules: true, MTime: "commit",
				FetchByCommit: true, MountSSHSock: "k", Bundle: "docker-image+blob://x", BundleSessionID: "s", BundleStoreID: "t", CheckoutBundle: true,
				Signature: &GitSignature{PubKey: "p", RejectExpired: true, RequireSignedTag: true, IgnoreSignedTag: true},
			}, Info{}), "git://example.com:22/a#main:d",
			map[string]string{
				"git.fullurl": "ssh://git@example.com:22/a", "git.authtokensecret": "GIT_AUTH_TOKEN", "git.authheadersecret": "GIT_AUTH_HEADER",
				"git.keepgitdir": "true", "git.checksum": "0a", "git.skipsubmodules": "true", "git.mtime": "commit", "git.fetchbycommit": "true",
				"git.mountsshsock": "k", "git.bundle": "docker-image+blob://x", "oci.session": "s", "oci.store": "t", "git.checkoutbundle": "true",
				"git.sig.pubkey": "p", "git.sig.rejectexpired": "true", "git.sig.requiresignedtag": "true", "git.sig.ignoresignedtag": "true",
			},
			[]string{
				"source.git", "source.git.fullurl", "source.git.keepgitdir", "source.git.checksum", "source.git.skipsubmodules", "source.git.mtime",
				"source.git.fetchbycommit", "source.git.mountsshsock", "source.git.bundle", "source.git.checkoutbundle", "source.git.signatureverify",
			},
		},
		"raw": {
			Raw("docker-image://x", map[string]string{"a": "b"}, Info{Caps: []string{"source.image"}}), "docker-image://x",
			map[string]string{"a": "b"}, []string{"source.image"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			op, meta := lastOp(t, test.state)
			source := op.GetSource()
			if source.GetIdentifier() != test.identifier {
				t.Errorf("identifier %q", source.GetIdentifier())
			}
			if diff := cmp.Diff(test.attrs, source.GetAttrs()); diff != "" {
				t.Error(diff)
			}
			wantCaps(t, meta, test.caps...)
		})
	}
}

func TestLocalIsDistinct(t *testing.T) {
	local := Local(LocalSource{Name: "ctx"}, Info{})
	one, err := Marshal(local, Options{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Marshal(local, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if string(one.Def[0]) == string(two.Def[0]) {
		t.Error("two clients would share one directory")
	}
}
