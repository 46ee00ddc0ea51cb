package request

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// env is a fixed environment.
func env(pairs ...string) Env {
	return func(name string) (string, bool) {
		for _, p := range pairs {
			if k, v, _ := strings.Cut(p, "="); k == name {
				return v, true
			}
		}
		return "", false
	}
}

// attrs makes a map of "k=v" pairs.
func attrs(pairs ...string) map[string]string {
	m, err := Pairs("x", pairs)
	if err != nil {
		panic(err)
	}
	return m
}

// check compares a result, or the text of an error if wantErr is set.
func check(t *testing.T, got any, err error, want any, wantErr string) {
	t.Helper()
	if wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("error %v, want one with %q", err, wantErr)
		}
		return
	}
	if err != nil {
		t.Error(err)
	} else if d := cmp.Diff(want, got); d != "" {
		t.Errorf("differs (-want +got):\n%s", d)
	}
}

func TestOutputs(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Output
		err  string
	}{
		{in: "type=image,name=a,push=true", want: Output{Type: "image", Attrs: attrs("name=a", "push=true")}},
		{in: `type=image,"name=a,b"`, want: Output{Type: "image", Attrs: attrs("name=a,b")}},
		{in: "TYPE=local,Dest=out", want: Output{Type: "local", Dir: "out", Attrs: attrs()}},
		{in: "type=local,dest=out,mode=delete", want: Output{Type: "local", Dir: "out", Delete: true, Attrs: attrs("mode=delete")}},
		{in: "type=tar", want: Output{Type: "tar", Stream: "-", Attrs: attrs()}},
		{in: "type=oci,dest=x.tar", want: Output{Type: "oci", Stream: "x.tar", Attrs: attrs()}},
		{in: "type=docker,tar=maybe", want: Output{Type: "docker", Stream: "-", Attrs: attrs("tar=maybe")}},
		{in: "type=oci,dest=d,tar=false", want: Output{Type: "oci", Store: "d", Attrs: attrs("tar=false")}},
		{in: "type=oci,tar=false", err: "output directory is required for oci exporter"},
		{in: "type=local", err: "output directory is required for local exporter"},
		{in: "type=local,dest=x,mode=merge", err: `mode "merge"`},
		{in: "type=image,dest=x", err: "output x is not supported by image exporter"},
		{in: "type=tar,output=x", err: "you meant dest=x"},
		{in: "name=x", err: "requires type="},
		{in: "type=image,push", err: "invalid value push"},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := Outputs([]string{c.in})
			check(t, got, err, []Output{c.want}, c.err)
		})
	}
	if _, err := Outputs([]string{"type=oci,tar=false,dest=a", "type=docker,tar=false,dest=b"}); err == nil {
		t.Error("two stores: no error")
	}
}

func TestCaches(t *testing.T) {
	gha := env("ACTIONS_CACHE_SERVICE_V2=true", "ACTIONS_RESULTS_URL=https://r", "ACTIONS_CACHE_URL=https://c", "ACTIONS_RUNTIME_TOKEN=t")
	for _, c := range []struct {
		in   string
		env  Env
		want Cache
		err  string
	}{
		{in: "example.com/a:b", want: Cache{"registry", attrs("ref=example.com/a:b", "mode=min")}},
		{in: "type=registry,ref=r,mode=max", want: Cache{"registry", attrs("ref=r", "mode=max")}},
		{in: "type=inline", want: Cache{"inline", attrs("mode=min")}},
		{in: "type=local,dest=d", want: Cache{"local", attrs("dest=d", "mode=min")}},
		{in: "type=gha", env: gha, want: Cache{"gha", attrs("url=https://c", "url_v2=https://r", "token=t", "mode=min")}},
		{in: "type=gha,version=1,url=u", env: gha, want: Cache{"gha", attrs("version=1", "url=u", "token=t", "mode=min")}},
		{in: "type=gha", err: "requires url"},
		{in: "type=gha,url=x", err: "requires token"},
		{in: "type=registry", err: "requires ref"},
		{in: "type=local", err: "requires dest"},
		{in: "type=local,x", err: "invalid value x"},
	} {
		t.Run(c.in, func(t *testing.T) {
			if c.env == nil {
				c.env = env()
			}
			got, err := ExportCaches([]string{c.in}, c.env)
			check(t, got, err, []Cache{c.want}, c.err)
		})
	}
	got, err := ImportCaches([]string{"example.com/a"}, env())
	check(t, got, err, []Cache{{"registry", attrs("ref=example.com/a")}}, "")
	_, err = ImportCaches([]string{"type=local,dest=x"}, env())
	check(t, nil, err, nil, "requires src")
}

func TestSecrets(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Secret
		err  string
	}{
		{in: "id=a,src=f", want: Secret{ID: "a", File: "f"}},
		{in: "id=a,source=f,type=file", want: Secret{ID: "a", File: "f"}},
		{in: "id=a,env=E", want: Secret{ID: "a", Env: "E"}},
		{in: "id=a,type=env,src=E", want: Secret{ID: "a", Env: "E"}},
		{in: "id=HOMELY", want: Secret{ID: "HOMELY", Env: "HOMELY"}},
		{in: "id=nothing", want: Secret{ID: "nothing", File: "nothing"}},
		{in: "src=f", err: "missing ID"},
		{in: "id=a,type=magic", err: "unsupported secret type"},
		{in: "id=a,colour=red", err: "unexpected key"},
		{in: "a", err: "key=value pair"},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := Secrets([]string{c.in}, env("HOMELY=1"))
			check(t, got, err, []Secret{c.want}, c.err)
		})
	}
}

func TestAgents(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want []Agent
		err  string
	}{
		{in: []string{"default"}, want: []Agent{{ID: "default"}}},
		{in: []string{"", "a=k1,k2"}, want: []Agent{{ID: "default"}, {ID: "a", Paths: []string{"k1", "k2"}}}},
		{in: []string{"a=/s,raw=true"}, want: []Agent{{ID: "a", Paths: []string{"/s"}, Raw: true}}},
		{in: []string{"a=raw=true"}, err: "exactly one socket path"},
		{in: []string{"a=x,raw=perhaps"}, err: "invalid value for 'raw'"},
		{in: []string{"a", "a"}, err: "duplicate agent ID"},
	} {
		t.Run(strings.Join(c.in, " "), func(t *testing.T) {
			got, err := Agents(c.in)
			check(t, got, err, c.want, c.err)
		})
	}
}

func TestOpts(t *testing.T) {
	e := env("SOURCE_DATE_EPOCH=7", "FROM_ENV=x")
	got, err := Opts([]string{"target=a", "target=b", "build-arg:FROM_ENV", "build-arg:UNSET", "build-arg:K=a=b"}, e)
	check(t, got, err, attrs("target=b", "build-arg:FROM_ENV=x", "build-arg:K=a=b", "build-arg:SOURCE_DATE_EPOCH=7"), "")
	got, err = Opts([]string{"build-arg:SOURCE_DATE_EPOCH=9"}, e)
	check(t, got, err, attrs("build-arg:SOURCE_DATE_EPOCH=9"), "")
	_, err = Opts([]string{"target"}, env())
	check(t, nil, err, nil, "--opt: invalid value target")
}

func TestEntitlements(t *testing.T) {
	check(t, nil, Entitlements([]string{"network.host", "security.insecure", "device", "device=vendor.com/gpu=0,alias=x"}), nil, "")
	check(t, nil, Entitlements([]string{"everything"}), nil, "unknown entitlement")
}

func TestTLSContexts(t *testing.T) {
	got, err := TLSContexts([]string{"host=h,ca=c", "host=h,insecure=true", "host=i,cert=c,key=k"})
	check(t, got, err, map[string]TLSContext{
		"h": {CAs: []string{"c"}, Insecure: true}, "i": {Pairs: []KeyPair{{Cert: "c", Key: "k"}}},
	}, "")
	for in, want := range map[string]string{"ca=x": "host=", "host=h": "requires ca=", "host=h,ca=c,cert=x": "requires cert="} {
		got, err := TLSContexts([]string{in})
		check(t, got, err, nil, want)
	}
}

// Values come from scripts as well as from people: reading one never panics.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"type=image,name=x", `type=oci,"a=b,c"`, "id=a,src=b", "default=k,raw=1", "build-arg:X", `"`, "type=gha"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := []string{s}
		outs, err := Outputs(v)
		for _, o := range outs {
			if err == nil && o.Type == "" {
				t.Errorf("output without type from %q", s)
			}
		}
		_, _ = ExportCaches(v, env())
		_, _ = ImportCaches(v, env())
		_, _ = Secrets(v, env())
		_, _ = Agents(v)
		_, _ = Opts(v, env())
		_, _ = TLSContexts(v)
	})
}
