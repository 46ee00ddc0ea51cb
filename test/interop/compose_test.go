package interop_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// compose runs the real docker compose on the project in dir, as a user does
// whose DOCKER_HOST is the daemon. env comes last.
func (e *engine) compose(dir string, env []string, args ...string) outcome {
	e.t.Helper()
	all := append(append([]string{"BUILDX_NO_DEFAULT_ATTESTATIONS=1"}, e.env...), env...)
	return run(e.t, "", all, foreign(e.t, "compose"), append([]string{"--project-directory=" + dir, "--progress=plain"}, args...)...)
}

// named returns the id of an image of the engine and its labels, as text.
func (e *engine) named(image string) (id, labels string) {
	e.t.Helper()
	text := e.docker(false, "image", "inspect", "--format={{.Id}} {{json .Config.Labels}}", image).ok(e.t).stdout
	id, labels, _ = strings.Cut(strings.TrimSpace(text), " ")
	return id, labels
}

// shop is a project whose steps check themselves that what compose.yaml says
// arrives. Its services need all that a service's build section has.
func shop(t *testing.T, tags string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, "app/Dockerfile", shopApp, "extra/f", "from elsewhere\n", "token", "secret\n",
		"tools/Containerfile", "ARG FROM\nFROM $FROM\nARG WHO\nRUN test $WHO = me && echo tools of $WHO > /tools\n")
	write(t, filepath.Join(dir, "compose.yaml"), strings.NewReplacer("BASE", base(t, "busybox"), "TAGS", tags, "DIR", dir).Replace(shopProject))
	if err := os.WriteFile(filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

const shopProject = `name: shop
services:
  tools:
    image: TAGS/tools:1
    build:
      context: tools
      dockerfile: Containerfile
      args: {FROM: BASE, WHO: me}
  app:
    image: TAGS/app:1
    build:
      context: app
      target: two
      args: {SHOWN: "$${HOME}"}
      additional_contexts: {tools: "service:tools", extra: ./extra}
      secrets: [token, {source: fromenv, target: other}]
      ssh: [default=DIR/key]
      tags: [TAGS/app:two]
      labels: {kind: shop}
      extra_hosts: ["far.test:10.1.2.3"]
      shm_size: 8mb
      ulimits: {nofile: {soft: 1000, hard: 2000}}
      no_cache_filter: [never]
      cache_from: ["type=local,src=DIR/cache"]
      cache_to: ["type=local,dest=DIR/cache"]
  inline:
    build:
      context: .
      network: none
      dockerfile_inline: |
        FROM BASE
        RUN test "$$(ls /sys/class/net)" = lo
  strong:
    build:
      context: .
      privileged: true
      network: host
      entitlements: [network.host]
      dockerfile_inline: |
        FROM BASE
        RUN --security=insecure mount -t tmpfs none /tmp && echo strong > /strong
  many:
    image: TAGS/many:1
    build:
      context: extra
      platforms: [linux/amd64, linux/arm64]
      dockerfile_inline: |
        FROM scratch
        COPY f /
secrets:
  token: {file: ./token}
  fromenv: {environment: SHOP_SECRET}
`

const shopApp = `FROM tools AS one
ARG SHOWN
RUN test "$SHOWN" = '${HOME}'
RUN --mount=type=secret,id=token --mount=type=secret,id=other cat /run/secrets/token /run/secrets/other > /both
RUN printf 'secret\nfrom the environment' | cmp - /both
RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK"
RUN grep far.test /etc/hosts | grep 10.1.2.3
RUN test "$(ulimit -Sn) $(ulimit -Hn)" = "1000 2000"
RUN test "$(df -k /dev/shm | awk 'END { print $2 }')" = 8192
FROM one AS two
COPY --from=extra f /
CMD ["cat", "/f", "/tools"]
FROM two AS never
RUN false
`

// TestCompose builds a project of services with the docker driver, then with a
// builder, and looks at what the engine has of it.
func TestCompose(t *testing.T) {
	e := newEngine(t, "--allow-insecure-entitlement=security.insecure", "--allow-insecure-entitlement=network.host")
	run(t, "", e.env, foreign(t, "buildx"), "create", "--name=kiln", "--driver=remote", e.Address).ok(t)
	for _, builder := range []string{"", "kiln"} {
		tags := world.registry.Addr + "/compose" + builder
		dir := shop(t, tags)
		env := []string{"SHOP_SECRET=from the environment", "BUILDX_BUILDER=" + builder}
		said := e.compose(dir, env, "build").ok(t)
		for _, service := range []string{"/tools:1", "/app:1", "shop-inline", "shop-strong", "/many:1"} {
			if !strings.Contains(said.stdout+said.stderr, service+" Built") {
				t.Errorf("with builder %q, compose does not say that %s is built:\n%s\n%s", builder, service, said.stdout, said.stderr)
			}
		}
		id, labels := e.named(tags + "/app:1")
		if two, _ := e.named(tags + "/app:two"); two != id {
			t.Errorf("the other tag is %s, not %s", two, id)
		}
		if !strings.Contains(labels, `"kind":"shop"`) || !strings.Contains(labels, `"com.docker.compose.service":"app"`) {
			t.Errorf("labels %s", labels)
		}
		if _, err := os.Stat(filepath.Join(dir, "cache", "index.json")); err != nil {
			t.Errorf("the cache was not exported: %v", err)
		}
		e.compose(dir, env, "build", "--push", "app", "many").ok(t)
		if manifest := pulled(t, tags+"/app:1"); len(manifest.Layers) == 0 {
			t.Errorf("the registry has %+v", manifest)
		}
		if again, _ := e.named(tags + "/app:1"); again != id {
			t.Errorf("building again made %s of %s", again, id)
		}
		e.compose(dir, env, "push", "tools").ok(t)
		e.compose(dir, env, "pull", "tools").ok(t)
	}
}

// TestComposeSame compares what compose makes with what the other doors make:
// through bake and the engine, through the kiln driver, and as a classic build.
func TestComposeSame(t *testing.T) {
	e := newEngine(t)
	dir := dockerContext(t)
	write(t, filepath.Join(dir, "compose.yaml"), "name: same\nservices:\n  one:\n    image: same:${DOOR}\n    build: {context: ., args: {WHO: me}}\n")
	e.driver("kiln", "socket="+strings.TrimPrefix(e.Address, "unix://"))
	for door, env := range map[string]string{"bake": "BUILDX_BUILDER=", "driver": "BUILDX_BUILDER=kiln", "classic": "DOCKER_BUILDKIT=0"} {
		e.compose(dir, []string{env, "DOOR=" + door}, "build").ok(t)
		id, labels := e.named("same:" + door)
		var has map[string]string
		decode(t, labels, &has)
		args := []string{"build", "-q", "--build-arg=WHO=me"}
		for name, value := range has {
			args = append(args, "--label="+name+"="+value)
		}
		if got := strings.TrimSpace(e.docker(true, append(args, dir)...).ok(t).stdout); got != id || len(has) == 0 {
			t.Errorf("docker build made %s, compose by %s %s, with labels %s", got, door, id, labels)
		}
	}
}

// TestComposeFails shows what is wrong with a service.
func TestComposeFails(t *testing.T) {
	e := newEngine(t)
	dir := folder(t, "compose.yaml", "name: bad\nservices:\n  one:\n    build: .\n", "Dockerfile", "frOM "+base(t, "busybox")+"\nRUN echo last words; exit 7\n")
	e.compose(dir, nil, "build").failed(t, "exit code: 7")
	e.compose(dir, []string{"DOCKER_BUILDKIT=0"}, "build").failed(t, "returned a non-zero code: 7")
	e.compose(dir, nil, "build", "--check").failed(t)
	if up := e.compose(dir, nil, "up", "--build"); up.err == nil || !strings.Contains(up.stderr, "exit code: 7") {
		t.Errorf("up: %v, %s", up.err, up.stderr)
	}
}
