package build

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/pb/auth"
)

// parse reads parameters as a request brings them.
func parse(query url.Values) (*parameters, error) {
	r := httptest.NewRequest(http.MethodPost, "/build?"+query.Encode(), nil)
	r.Form = query
	return readParameters(r, "10.0.0.1")
}

func TestParameters(t *testing.T) {
	p, err := parse(url.Values{
		"t": {"a", "a:latest", "R.test:5000/b:1"}, "dockerfile": {"sub/D"}, "q": {"1"}, "nocache": {"1"}, "pull": {"1"},
		"buildargs": {`{"A":"b","NONE":null,"BUILDKIT_INLINE_CACHE":"1"}`}, "labels": {`{"l":"v"}`}, "cachefrom": {`["x","y"]`},
		"memory": {"1000"}, "memswap": {"-1"}, "cpushares": {"0"}, "cpuquota": {"5"}, "cpusetcpus": {"0-1"}, "cgroupparent": {"/p"},
		"shmsize": {"64"}, "ulimits": {`[{"Name":"nofile","Soft":1,"Hard":2}]`}, "networkmode": {"host"},
		"extrahosts": {"a:1.2.3.4", "b:[::1],c:::2", "d:host-gateway"}, "target": {"T"}, "platform": {"linux/arm64"}, "rm": {"0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"build-arg:A": "b", "build-arg:BUILDKIT_INLINE_CACHE": "1", "label:l": "v", "cache-from": "x,y", "memory": "1000", "memswap": "-1",
		"cpuquota": "5", "cpusetcpus": "0-1", "cgroup-parent": "/p", "shm-size": "64", "ulimit": "nofile=1:2", "force-network-mode": "host",
		"add-hosts": "a=1.2.3.4,b=::1,c=::2,d=10.0.0.1", "target": "T", "platform": "linux/arm64", "filename": "sub/D", "no-cache": "", "image-resolve-mode": "pull",
	}
	if !maps.Equal(p.opts, want) {
		t.Errorf("options are %v", p.opts)
	}
	if !slices.Equal(p.tags, []string{"docker.io/library/a:latest", "R.test:5000/b:1"}) || !p.quiet || p.remove || !p.inlineCache || !p.hostNetwork {
		t.Errorf("parameters are %+v", p)
	}
	req := (&job{parameters: p, visitor: "v"}).request()
	if req.SessionID != "v" || req.Entitlements[0] != "network.host" || req.CacheExports[0].Type != "inline" || req.Exporters[0].Type != "moby" ||
		req.Exporters[0].Attrs["name"] != "docker.io/library/a:latest,R.test:5000/b:1" {
		t.Errorf("request is %+v", req)
	}
}

func TestParametersOfVersion2(t *testing.T) {
	p, err := parse(url.Values{"version": {"2"}, "session": {"s"}, "remote": {"client-session"}, "outputs": {`[{"Type":"local","Attrs":{"dest":"x"}}]`}})
	if err != nil {
		t.Fatal(err)
	}
	req := (&job{parameters: p, visitor: "v"}).request()
	if _, given := req.Opts["context"]; given || req.SessionID != "s" || req.Exporters[0].Type != "local" || req.Exporters[0].Attrs["dest"] != "x" {
		t.Errorf("request is %+v", req)
	}
	p.outputs = []output{{Type: "cacheonly"}}
	if req := (&job{parameters: p}).request(); len(req.Exporters) != 0 {
		t.Errorf("exporters are %v", req.Exporters)
	}
	if p, err := parse(url.Values{"version": {"2"}, "buildid": {"upload-request:x"}}); err != nil || !p.upload || p.id != "x" {
		t.Errorf("an upload is %+v, %v", p, err)
	}
}

func TestHostileParameters(t *testing.T) {
	long := "[" + strings.Repeat(`"x",`, 5000) + `"x"]`
	for name, values := range map[string][]string{
		"t": {"UPPER", "a@sha256:" + strings.Repeat("0", 64), "a b"}, "memory": {"x", "-5"}, "memswap": {"-2"}, "buildargs": {"[]", "{"},
		"labels": {`{"a":1}`}, "ulimits": {`[{"Name":""}]`, `[{"Name":"a,b","Soft":1}]`, `[{"Name":"n","Soft":2,"Hard":1}]`},
		"networkmode": {"container:x", "mine"}, "extrahosts": {"a", "a:b", ":1.2.3.4", "a\n:1.2.3.4"}, "cachefrom": {"x", long},
		"version": {"0", "3"}, "isolation": {"hyperv"}, "platform": {"foobar", "linux/amd64,", "/", " "}, "remote": {"client-session", "upload-request", "/etc", "file:///etc"}, "securityopt": {"x"},
	} {
		for _, v := range values {
			if _, err := parse(url.Values{name: {v}}); !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s=%.100s: %v", name, v, err)
			}
		}
	}
	if p, err := parse(url.Values{"squash": {"1"}}); err != nil || (&job{parameters: p}).exporters()[0].Attrs["squash"] != "true" {
		t.Errorf("squash: %v", err)
	}
	if _, err := parse(url.Values{"version": {"2"}, "outputs": {`[{},{}]`}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("two outputs: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	v := &visitor{known: map[string]route.Credentials{
		"https://index.docker.io/v1/": {Username: "hub", Password: "p"},
		"r.test:5000":                 {Auth: base64.StdEncoding.EncodeToString([]byte("u:p:q"))},
		"https://token.test/v2/":      {Username: "ignored", IdentityToken: "t"},
	}}
	for host, want := range map[string][2]string{
		"registry-1.docker.io": {"hub", "p"}, "docker.io": {"hub", "p"}, "r.test:5000": {"u", "p:q"}, "token.test": {"", "t"}, "r.test": {"", ""},
	} {
		resp, err := v.Credentials(t.Context(), &auth.CredentialsRequest{Host: host})
		if err != nil || resp.GetUsername() != want[0] || resp.GetSecret() != want[1] {
			t.Errorf("%s: %v, %v", host, resp, err)
		}
	}
}

func TestPruneOptions(t *testing.T) {
	read := func(query url.Values) (any, error) {
		r := httptest.NewRequest(http.MethodPost, "/build/prune?"+query.Encode(), nil)
		r.Form = query
		opt, err := pruneOptions(r)
		return opt, err
	}
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Form = url.Values{"all": {"1"}, "keep-storage": {"5"}, "max-used-space": {"7"}, "filters": {`{"until":["24h"],"type":["regular"],"inuse":["true"]}`}}
	opt, err := pruneOptions(r)
	if err != nil || !opt.All || opt.ReservedSpace != 5 || opt.MaxUsedSpace != 7 || opt.KeepDuration != 24*time.Hour ||
		!slices.Equal(opt.Filters, []string{`type=="regular",inuse`}) {
		t.Errorf("options are %+v, %v", opt, err)
	}
	for _, bad := range []url.Values{
		{"keep-storage": {"x"}}, {"reserved-space": {"-1"}}, {"filters": {`{"until":["soon"]}`}}, {"filters": {`{"until":["1h"],"unused-for":["1h"]}`}},
		{"filters": {`{"id":["a","b"]}`}}, {"filters": {`{"shared":["maybe"]}`}}, {"filters": {`{"what":["1"]}`}},
	} {
		if _, err := read(bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// FuzzParameters feeds queries of strangers.
func FuzzParameters(f *testing.F) {
	f.Add("t=a&buildargs={}&ulimits=[]&extrahosts=a:1.2.3.4")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if p, err := parse(values); err == nil {
			_ = (&job{parameters: p}).request()
		}
	})
}
