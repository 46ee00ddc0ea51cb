package lower

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

func TestHistoryAndConfig(t *testing.T) {
	out := must(t, `FROM img
ARG V=1 W
ENV A=$V B="x y"
LABEL l=$A
RUN echo hi
RUN ["a", "b c"]
COPY --chown=1:2 --chmod=755 src $A /dst/
ADD http://h/f.tgz /
COPY <<doc /inline
$A
doc
WORKDIR /w
WORKDIR sub
WORKDIR /
USER me
EXPOSE 80 90-91/UDP
VOLUME /v
STOPSIGNAL TERM
HEALTHCHECK --interval=1s CMD x
SHELL ["bash", "-c"]
CMD run me
ENTRYPOINT ["e"]
MAINTAINER who
ONBUILD RUN later
`)
	want := []string{
		"- ARG V=1 W", "- ENV A=1 B=x y", "- LABEL l=1",
		"+ RUN |2 V=1 W= /bin/sh -c echo hi # buildkit", "+ RUN |2 V=1 W= a b c # buildkit",
		"+ COPY --chown=1:2 --chmod=755 src 1 /dst/ # buildkit", "+ ADD http://h/f.tgz / # buildkit",
		"+ COPY <<doc /inline # buildkit", "+ WORKDIR /w", "+ WORKDIR /w/sub", "- WORKDIR /", "- USER me",
		"- EXPOSE [80/tcp 90/udp 91/udp]", "- VOLUME [/v]", "- STOPSIGNAL TERM",
		"- HEALTHCHECK {Test:[CMD-SHELL x] Interval:1s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
		"- SHELL [bash -c]", `- CMD ["bash" "-c" "run me"]`, `- ENTRYPOINT ["e"]`, "- MAINTAINER who",
	}
	if got := out.history(); !slices.Equal(got, want) {
		t.Errorf("history:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	c := out.image.Config
	if !slices.Equal(c.Env, []string{"PATH=/bin", "A=1", "B=x y"}) || c.User != "me" || c.WorkingDir != "/" || c.StopSignal != "TERM" {
		t.Errorf("config %+v", c)
	}
	if !slices.Equal(c.Cmd, []string{"bash", "-c", "run me"}) || !slices.Equal(c.OnBuild, []string{"RUN later"}) || out.image.Author != "who" {
		t.Errorf("config %+v", c)
	}
	if len(c.ExposedPorts) != 3 || c.Labels["l"] != "1" || out.image.Created != nil {
		t.Errorf("config %+v", c)
	}
}

func TestEntrypointDropsInheritedCommand(t *testing.T) {
	if cmd := must(t, "FROM img\nENTRYPOINT [\"e\"]").image.Config.Cmd; cmd != nil {
		t.Errorf("CMD %q", cmd)
	}
}

func TestNames(t *testing.T) {
	out := must(t, "FROM img AS build\nARG N=x\nRUN make \"$N\"\nFROM scratch\nCOPY --from=build /a /b\nWORKDIR /w\n")
	want := []string{
		"[build 1/2] FROM docker.io/library/img:latest@" + baseDigest.String(),
		`[build 2/2] RUN make "x"`, "[stage-1 1/2] COPY --from=build /a /b", "[stage-1 2/2] WORKDIR /w",
	}
	if !slices.Equal(out.names, want) {
		t.Errorf("names:\n%s", out)
	}
	only := must(t, "FROM img\nRUN a\n")
	if only.names[1] != "[2/2] RUN a" {
		t.Errorf("one stage: %s", only)
	}
}

func TestPlatforms(t *testing.T) {
	arm := ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	out, err := convert(t, &world{}, Options{Platform: &arm, BuildPlatforms: []ocispecs.Platform{amd64}, MultiPlatform: true},
		"FROM --platform=$BUILDPLATFORM img AS b\nARG TARGETPLATFORM TARGETARCH TARGETSTAGE\nRUN $TARGETARCH\nFROM img\nCOPY --from=b / /\n")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out.names)
	want := []string{
		"[linux/amd64 b 1/2] FROM docker.io/library/img:latest@" + baseDigest.String(),
		"[linux/amd64->arm64 b 2/2] RUN $TARGETARCH",
		"[linux/arm64 stage-1 1/2] FROM docker.io/library/img:latest@" + baseDigest.String(),
		"[linux/arm64 stage-1 2/2] COPY --from=b / /",
	}
	want[1] = "[linux/amd64->arm64 b 2/2] RUN arm64"
	slices.Sort(want)
	if !slices.Equal(out.names, want) {
		t.Errorf("names:\n%s", out)
	}
	if env := out.exec(t, 0).Meta.Env; !slices.Contains(env, "TARGETSTAGE=default") || !slices.Contains(env, "TARGETPLATFORM=linux/arm64") {
		t.Errorf("env %q", env)
	}
	if out.image.Architecture != "arm64" {
		t.Errorf("image is for %s", out.image.Architecture)
	}
	if !slices.ContainsFunc(out.warnings, func(w string) bool { return strings.HasPrefix(w, "InvalidBaseImagePlatform") }) {
		t.Errorf("warnings %q", out.warnings)
	}
}

func TestOnlyNeededStagesAreResolved(t *testing.T) {
	w := &world{}
	if _, err := convert(t, w, Options{}, "FROM one AS unused\nRUN x\nFROM two AS used\nFROM three\nCOPY --from=used a b\nCOPY --from=four c d\n"); err != nil {
		t.Fatal(err)
	}
	slices.Sort(w.asked)
	want := []string{
		"[internal] load metadata for docker.io/library/four:latest", "[internal] load metadata for docker.io/library/three:latest",
		"[internal] load metadata for docker.io/library/two:latest",
	}
	if !slices.Equal(w.asked, want) {
		t.Errorf("asked %q", w.asked)
	}
}

func TestContextPaths(t *testing.T) {
	for text, want := range map[string][]string{
		"COPY a ./b/../c d /":             {"a", "c", "d"},
		"COPY . /":                        nil,
		"ADD http://h/x local /":          {"local"},
		"RUN --mount=target=/x,src=sub y": {"sub"},
		"RUN --mount=target=/x y":         nil,
		"COPY <<E a /\nE":                 {"a"},
		"RUN --mount=type=cache,target=/x --mount=type=secret,id=s y\nCOPY a /": {"a"},
	} {
		w := &world{}
		if _, err := convert(t, w, Options{}, "FROM img\n"+text); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(w.follow, want) {
			t.Errorf("%s: follows %q, want %q", text, w.follow, want)
		}
	}
}

func TestMountsOfRun(t *testing.T) {
	out := must(t, "FROM img AS src\nFROM img\nWORKDIR /w\nRUN --mount=from=src,src=/s,target=rel --mount=type=cache,target=/c,id=i,sharing=locked"+
		" --mount=type=tmpfs,target=/t,size=1k --mount=type=secret,id=a/b,mode=0440,uid=1 --mount=type=secret,id=e,env=E,required"+
		" --mount=type=ssh --mount=type=cache,target=/own,uid=5 --mount=target=/rw,rw x\n")
	mounts := map[string]*pb.Mount{}
	exec := out.exec(t, 0)
	for _, m := range exec.Mounts {
		mounts[m.Dest] = m
	}
	if m := mounts["/w/rel"]; m.Selector != "/s" || !m.Readonly || m.Output != -1 {
		t.Errorf("bind %v", m)
	}
	if m := mounts["/c"]; m.CacheOpt.ID != "/i" || m.CacheOpt.Sharing != pb.CacheSharingOpt_LOCKED || m.Input != -1 {
		t.Errorf("cache %v", m)
	}
	if m := mounts["/t"]; m.TmpfsOpt.Size != 1024 {
		t.Errorf("tmpfs %v", m)
	}
	if m := mounts["/run/secrets/b"]; m.SecretOpt.ID != "a/b" || m.SecretOpt.Mode != 0o440 || m.SecretOpt.Uid != 1 || !m.SecretOpt.Optional {
		t.Errorf("secret %v", m)
	}
	if m := mounts["/run/buildkit/ssh_agent.0"]; m == nil || m.MountType != pb.MountType_SSH {
		t.Errorf("ssh %v", m)
	}
	if m := mounts["/own"]; m.Selector != "/cache" || m.Input < 0 {
		t.Errorf("owned cache %v", m)
	}
	if m := mounts["/rw"]; m.Readonly || m.Output != -1 {
		t.Errorf("writable bind %v", m)
	}
	if len(exec.Secretenv) != 1 || exec.Secretenv[0].Name != "E" || exec.Secretenv[0].Optional {
		t.Errorf("secret env %v", exec.Secretenv)
	}
}

func TestMountHidesAnother(t *testing.T) {
	mounts := must(t, "FROM img\nRUN --mount=type=cache,target=/c,id=a --mount=type=cache,target=/c,id=b x\n").exec(t, 0).Mounts
	if len(mounts) != 2 || mounts[1].CacheOpt.ID != "/b" {
		t.Errorf("mounts %v", mounts)
	}
	if _, err := convert(t, &world{}, Options{}, "FROM img\nRUN --mount=type=secret,id=a,target=/ x\n"); err == nil {
		t.Error("a secret hides the root")
	}
}

func TestCopy(t *testing.T) {
	out := must(t, "FROM img\nWORKDIR /w\nCOPY --chown=u:0 --chmod=u+x --exclude=*.o a/ b* ./\n")
	actions := out.last(t)
	first := actions[0].GetCopy()
	if len(actions) != 2 || first.Src != "/a" || first.Dest != "/w/" || first.ModeStr != "u+x" || first.Owner.User.GetByName().GetName() != "u" {
		t.Errorf("actions %v", actions)
	}
	if !slices.Equal(first.ExcludePatterns, []string{"*.o"}) || first.AttemptUnpackDockerCompatibility || !first.AllowWildcard {
		t.Errorf("copy %v", first)
	}
	parents := must(t, "FROM img\nCOPY --parents x/./y/z *.c /d/\n").last(t)
	if c := parents[0].GetCopy(); c.Src != "/x" || !slices.Equal(c.IncludePatterns, []string{"y/z"}) || !slices.Equal(c.RequiredPaths, []string{"/x/y/z"}) {
		t.Errorf("parents %v", c)
	}
	if c := parents[1].GetCopy(); c.Src != "/" || len(c.RequiredPaths) != 0 {
		t.Errorf("parents %v", c)
	}
}

func TestLinkMakesALayer(t *testing.T) {
	out := must(t, "FROM img\nCOPY --link a /\n")
	merge := out.ops[len(out.ops)-1].GetMerge()
	if merge == nil || len(merge.Inputs) != 2 || out.names[len(out.names)-1] != "[2/2] LINK COPY --link a /" {
		t.Errorf("%v\n%s", merge, out)
	}
	if out := must(t, "FROM img\nCOPY --link --chmod=1 a /\n"); out.ops[len(out.ops)-1].GetMerge() != nil {
		t.Error("a mode was linked")
	}
}

func TestAdd(t *testing.T) {
	out := must(t, "FROM img\nADD --keep-git-dir https://h/r.git?branch=b&subdir=s http://h/d/f.tgz local.tar /x/\n")
	var ids []string
	for _, op := range out.ops {
		if source := op.GetSource(); source != nil {
			ids = append(ids, source.Identifier)
		}
	}
	if !slices.Contains(ids, "git://h/r.git#refs/heads/b:s") || !slices.Contains(ids, "http://h/d/f.tgz") {
		t.Errorf("sources %q", ids)
	}
	actions := out.last(t)
	if a := actions[1].GetCopy(); a.Src != "/f.tgz" || a.AttemptUnpackDockerCompatibility {
		t.Errorf("download %v", a)
	}
	if a := actions[2].GetCopy(); !a.AttemptUnpackDockerCompatibility {
		t.Errorf("archive %v", a)
	}
}

func TestHeredocs(t *testing.T) {
	out := must(t, "FROM img\nRUN <<E\necho\nmore\nE\nRUN <<-S\n\t#!/bin/x\n\tgo\nS\nRUN cat <<A >f <<B\na\nA\nb\nB\n")
	if args := out.exec(t, 0).Meta.Args; args[2] != "echo\nmore\n" {
		t.Errorf("script %q", args)
	}
	shebang := out.exec(t, 1)
	if shebang.Meta.Args[2] != "/dev/pipes/S" || shebang.Mounts[1].Dest != "/dev/pipes/" || !shebang.Mounts[1].Readonly {
		t.Errorf("shebang %v", shebang)
	}
	if args := out.exec(t, 2).Meta.Args; args[2] != "cat <<A >f <<B\na\nA\nb\nB" {
		t.Errorf("rest %q", args)
	}
	if !slices.Contains(out.names, "[2/4] RUN <<E (echo...)") {
		t.Errorf("names\n%s", out)
	}
}

func TestOnbuild(t *testing.T) {
	config := strings.Replace(plainImage, `"Cmd"`, `"OnBuild":["COPY --from=tool /t /t","RUN trigger"],"Cmd"`, 1)
	w := &world{images: map[string]string{"docker.io/library/ob:latest": config}}
	out, err := convert(t, w, Options{}, "FROM ob AS a\nONBUILD RUN second\nFROM a\nRUN own\n")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, op := range out.ops {
		if exec := op.GetExec(); exec != nil {
			commands = append(commands, exec.Meta.Args[2])
		}
	}
	if !slices.Equal(commands, []string{"trigger", "second", "own"}) || len(w.asked) != 2 {
		t.Errorf("commands %q, asked %q", commands, w.asked)
	}
	if out.image.Config.OnBuild != nil {
		t.Errorf("triggers stay: %q", out.image.Config.OnBuild)
	}
	if !slices.Contains(out.names, "[a 3/3] ONBUILD RUN trigger") {
		t.Errorf("names\n%s", out)
	}
}

func TestNamedContexts(t *testing.T) {
	open := func(name string) func([]string) (compose.State, error) {
		return func(follow []string) (compose.State, error) {
			return compose.Local(compose.LocalSource{Name: name, SessionID: "s", FollowPaths: follow}, compose.Info{}), nil
		}
	}
	w := &world{contexts: map[string]LoadedContext{
		"st":                           {Open: open("stage")},
		"docker.io/library/img:latest": {Open: open("image"), Config: []byte(plainImage)},
	}}
	out, err := convert(t, w, Options{}, "FROM other AS st\nRUN never\nFROM img\nCOPY --from=st f /\n")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, op := range out.ops {
		if s := op.GetSource(); s != nil {
			ids = append(ids, s.Identifier+s.Attrs["local.followpaths"])
		}
	}
	if !slices.Equal(ids, []string{"local://image", `local://stage["f"]`}) || len(w.asked) != 0 {
		t.Errorf("sources %q, asked %q", ids, w.asked)
	}
}

func TestSettingsOfProcesses(t *testing.T) {
	opt := Options{
		BuildArgs: map[string]string{"HTTP_PROXY": "p", "V": "given"}, NoCache: func(string) bool { return true },
		Labels: map[string]string{"x": "y"},
		Exec: ExecOptions{
			Hostname: "h", Network: compose.HostNetwork, ShmSize: 1 << 20, CgroupParent: "cg", CacheNamespace: "ns",
			ExtraHosts: []compose.Host{{Name: "a", IP: "1.2.3.4"}}, Ulimits: []compose.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}},
		},
	}
	out, err := convert(t, &world{}, opt, "FROM img\nARG V=default\nRUN --mount=type=cache,target=/c --network=none --security=insecure x\nRUN y\n")
	if err != nil {
		t.Fatal(err)
	}
	first, second := out.exec(t, 0), out.exec(t, 1)
	m := first.Meta
	if m.Hostname != "h" || m.CgroupParent != "cg" || m.ProxyEnv.HttpProxy != "p" || len(m.ExtraHosts) != 1 || len(m.Ulimit) != 1 {
		t.Errorf("meta %v", m)
	}
	if first.Network != pb.NetMode_NONE || first.Security != pb.SecurityMode_INSECURE || second.Network != pb.NetMode_HOST {
		t.Errorf("networks %v %v", first.Network, second.Network)
	}
	if first.Mounts[1].CacheOpt.ID != "ns//c" || first.Mounts[2].Dest != "/dev/shm" {
		t.Errorf("mounts %v", first.Mounts)
	}
	if !slices.Contains(m.Env, "V=given") || slices.Contains(m.Env, "HTTP_PROXY=p") || out.image.Config.Labels["x"] != "y" {
		t.Errorf("env %q, labels %v", m.Env, out.image.Config.Labels)
	}
}

func TestEpoch(t *testing.T) {
	when := time.Unix(1234, 0).UTC()
	for value, w := range map[string]*world{"1234": {}, "context": {epoch: &when}, "src": {epoch: &when}} {
		out, err := convert(t, w, Options{BuildArgs: map[string]string{"SOURCE_DATE_EPOCH": value}},
			"FROM scratch AS src\nADD https://h/x /\nFROM img\nARG SOURCE_DATE_EPOCH\nRUN x\nWORKDIR /w\n")
		if err != nil {
			t.Fatal(err)
		}
		if mkdir := out.last(t)[0].GetMkdir(); mkdir.Timestamp != when.UnixNano() || !out.result.Epoch.Equal(when) {
			t.Errorf("%s: time %d", value, mkdir.Timestamp)
		}
		if env := out.exec(t, 0).Meta.Env; !slices.Contains(env, "SOURCE_DATE_EPOCH=1234") {
			t.Errorf("%s: env %q", value, env)
		}
		if last := out.image.History[len(out.image.History)-1]; last.Created == nil || !last.Created.Equal(when) {
			t.Errorf("%s: history %v", value, last)
		}
	}
	_, err := convert(t, &world{}, Options{BuildArgs: map[string]string{"SOURCE_DATE_EPOCH": "nope"}}, "FROM img")
	if err == nil || err.Error() != "invalid SOURCE_DATE_EPOCH: nope" {
		t.Errorf("got %v", err)
	}
}

func TestErrors(t *testing.T) {
	w := &world{images: map[string]string{"docker.io/library/alpin:latest": ""}}
	for text, want := range map[string]struct {
		message string
		line    int
	}{
		"FROM $X":                          {"base name ($X) should not be blank", 1},
		"FROM a:":                          {`failed to parse stage name "a:": invalid reference format`, 1},
		"FROM alpin":                       {"alpin: not found (did you mean alpine?)", 1},
		"FROM --platform=$X img":           {"empty platform value from expression $X", 1},
		"FROM img\nCOPY --from=9 a b":      {"invalid stage index 9", 0},
		"FROM img\nCOPY --from=$X a b":     {"variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround", 0},
		"FROM img AS a\nCOPY --from=a a b": {"circular dependency detected on stage: a", 2},
		"FROM img AS x\nCOPY --from=y a b\nFROM img AS y\nCOPY --from=x a b": {"circular dependency detected on stage: x", 2},
		"FROM img AS x\nCOPY --from=y a b\nFROM img AS y\nRUN z\nFROM x":     {`cannot copy from stage "y", it needs to be defined before current stage "x"`, 2},
		"FROM img\nRUN --mount=target=. x":                                   {`invalid mount target "/"`, 2},
		"FROM img\nRUN --mount=type=ssh,source=x y":                          {"ssh does not support source", 2},
		"FROM img\nCOPY --chmod=99 a b":                                      {"invalid chmod parameter: '99'. it should be octal string and between 0 and 07777", 2},
		"FROM img\nCOPY https://h/x b":                                       {"source can't be a URL for COPY", 2},
		"FROM img\nCOPY https://h/x.git b":                                   {"source can't be a git ref for COPY", 2},
		"FROM img\nADD --checksum=x a b":                                     {"checksum requires HTTP(S) or Git sources", 2},
		"FROM img\nADD --checksum=x a b c":                                   {"checksum can't be specified for multiple sources", 2},
		"FROM img\nADD https://h/x.git?foo=1 b":                              {`unexpected query "foo"`, 2},
		"FROM img\nEXPOSE 99999":                                             {"invalid containerPort: 99999", 2},
		"FROM img\nEXPOSE 80/foo":                                            {`invalid port: "80/foo": invalid proto: foo`, 2},
		"FROM img\nSTOPSIGNAL nope":                                          {"invalid signal: nope", 2},
		"FROM img\nENV A=${B":                                                {"failed to process \"${B\": unsupported modifier (\uFFFD) in substitution", 2},
		"FROM img\nENV A=${B:?say}":                                          {`failed to process "${B:?say}": B: say`, 2},
		"ARG A=${B":                                                          {"dockerfile contains no stages to build", 0},
	} {
		_, err := convert(t, w, Options{}, text)
		if err == nil || err.Error() != want.message {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want.message)
			continue
		}
		line := 0
		if places := syntax.Places(err); len(places) > 0 {
			line = places[0][0].Start.Line
		}
		if line != want.line {
			t.Errorf("%q: line %d, want %d", text, line, want.line)
		}
	}
	if _, err := convert(t, w, Options{Target: "buidl"}, "FROM img AS build"); err == nil || err.Error() != `target stage "buidl" could not be found (did you mean build?)` {
		t.Errorf("target: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	w := &world{ignored: []string{"secret*"}}
	out, err := convert(t, w, Options{}, "ARG B\nFROM img${B}$C\nWORKDIR rel\nCOPY secret.txt /\nENV X=$UNDEF\nCMD a\nCMD b\nEXPOSE 1:80\n")
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, warning := range out.warnings {
		rule, _, _ := strings.Cut(warning, ":")
		rules = append(rules, rule)
	}
	want := []string{
		"UndefinedArgInFrom", "WorkdirRelativePath", "CopyIgnoredFile", "UndefinedVar", "JSONArgsRecommended",
		"MultipleInstructionsDisallowed", "JSONArgsRecommended", "ExposeInvalidFormat",
	}
	if !slices.Equal(rules, want) {
		t.Errorf("rules %q\n%q", rules, out.warnings)
	}
}

func TestWindows(t *testing.T) {
	win := ocispecs.Platform{OS: "windows", Architecture: "amd64"}
	config := strings.NewReplacer(`"os":"linux"`, `"os":"windows"`, `"Env":["PATH=/bin"],`, "").Replace(plainImage)
	w := &world{images: map[string]string{"docker.io/library/nano:latest": config}}
	out, err := convert(t, w, Options{Platform: &win}, "# escape=`\nFROM nano\nWORKDIR C:\\app\\sub\nCOPY a\\b C:\\dst\\\nRUN dir\n")
	if err != nil {
		t.Fatal(err)
	}
	if c := out.last(t)[0].GetCopy(); c.Src != "/a/b" || c.Dest != "/dst/" {
		t.Errorf("copy %v", c)
	}
	meta := out.exec(t, 0).Meta
	if meta.Cwd != "/app/sub" || !slices.Equal(meta.Args, []string{"cmd", "/S", "/C", "dir"}) || len(meta.Env) != 0 {
		t.Errorf("meta %v", meta)
	}
	if out.image.Config.WorkingDir != `\app\sub` {
		t.Errorf("working directory %q", out.image.Config.WorkingDir)
	}
	if _, err := convert(t, w, Options{Platform: &win}, "FROM nano\nCOPY a D:/x\n"); err == nil {
		t.Error("another drive was accepted")
	}
}

func TestBombs(t *testing.T) {
	start := time.Now()
	double := func(keyword string) string {
		var b strings.Builder
		b.WriteString("FROM img\n" + keyword + " a=xxxxxxxxxx\n")
		for range 60 {
			b.WriteString(keyword + " a=$a$a\n")
		}
		return b.String()
	}
	many := "FROM img\nENV a=" + strings.Repeat("x", 60000) + "\n" + strings.Repeat("RUN x\n", 5000)
	circle := "FROM a0 AS s0\n" + strings.Repeat("RUN "+strings.Repeat("--mount=target=/x ", 400)+"y\n", 100)
	for name, text := range map[string]string{
		"ENV": double("ENV"), "ARG": double("ARG"), "global ARG": strings.Replace(double("ARG"), "FROM img\n", "", 1) + "FROM img",
		"environment of many steps": many, "mounts": circle,
	} {
		if _, err := convert(t, &world{}, Options{}, text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestGitURL(t *testing.T) {
	for text, want := range map[string]GitURL{
		"https://h/r.git":                {Remote: "https://h/r.git"},
		"https://h/r.git#v1:sub/../dir":  {Remote: "https://h/r.git", Ref: "v1", Subdir: "dir"},
		"git://h/r#:../../etc":           {Remote: "git://h/r", Subdir: "etc"},
		"git@h:a/b.git?tag=v1":           {Remote: "git@h:a/b.git", Ref: "refs/tags/v1"},
		"ssh://u@h/r?ref=x&checksum=abc": {Remote: "ssh://u@h/r", Ref: "x", Checksum: "abc"},
		"github.com/a/b#c":               {Remote: "github.com/a/b", Ref: "c", LooksLocal: true},
		"https://h/r.git?mtime=commit":   {Remote: "https://h/r.git", MTime: "commit"},
	} {
		got, err := ParseGit(text)
		if err != nil || got == nil || *got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ".", "./a.git", "a/b", "https://h/r", "ftp://h/r.git", "a:b"} {
		if got, err := ParseGit(text); got != nil || err != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"https://h/r.git?x=1":              `unexpected query "x"`,
		"https://h/r.git?ref=a#b":          `ref conflicts: "b" vs "a"`,
		"https://h/r.git?tag=a&branch=b":   "branch conflicts with tag",
		"https://h/r.git?ref=":             `query "ref" has no value`,
		"https://h/r.git?ref=a&ref=b":      `query "ref" has multiple values`,
		"https://h/r.git?submodules=maybe": `invalid submodules value: "maybe"`,
		"https://h/r.git?mtime=now":        `invalid mtime value: "now" (must be "checkout" or "commit")`,
	} {
		if _, err := ParseGit(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestImageFailureIsPlaced(t *testing.T) {
	w := &world{images: map[string]string{"docker.io/library/gone:latest": ""}}
	_, err := convert(t, w, Options{}, "FROM img\n\nFROM gone\n")
	var placed *syntax.Error
	if !errors.As(err, &placed) || placed.Ranges[0].Start.Line != 3 {
		t.Errorf("got %v", err)
	}
}

func FuzzConvert(f *testing.F) {
	for _, seed := range []string{
		"FROM img\nRUN x", "FROM img AS a\nFROM a\nCOPY --from=0 x y", "ARG A=b\nFROM $A\nONBUILD RUN x\nFROM 0", "FROM scratch\nADD https://h/r.git /x",
		"FROM img\nRUN --mount=type=cache,target=/x,mode=1 y\nCOPY --link <<E /\nE\n", "FROM img\nEXPOSE 1-9/udp\nHEALTHCHECK CMD x\nENV a=$b", "FROM --platform=windows/amd64 x\nWORKDIR C:\\",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, opt := range []Options{{}, {AllStages: true, MultiPlatform: true, BuildArgs: map[string]string{"A": "1"}}} {
			_, _ = convert(t, &world{ignored: []string{"x"}}, opt, text)
		}
	})
}
