//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startWithin bounds the start of the API server.
const startWithin = 3 * time.Minute

// token is what the tests log in with, as an administrator.
const token = "only-in-this-test"

// server is a running API server; kubeconfig says how to reach it.
var server struct {
	dir, kubeconfig string
	processes       []*exec.Cmd
}

// TestMain starts the API server for all tests.
func TestMain(m *testing.M) {
	code := 1
	if err := start(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "start the API server:", err)
	} else {
		code = m.Run()
	}
	for _, p := range server.processes {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
	_ = os.RemoveAll(server.dir)
	os.Exit(code)
}

// start starts etcd and kube-apiserver.
func start(ctx context.Context) (err error) {
	if server.dir, err = os.MkdirTemp("", "kiln-cluster-"); err != nil {
		return err
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	etcd := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	peer := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	err = launch("etcd", "--data-dir", filepath.Join(server.dir, "etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--unsafe-no-fsync")
	if err != nil {
		return err
	}
	key, err := signingKey()
	if err != nil {
		return err
	}
	keyFile, tokens := filepath.Join(server.dir, "sa.key"), filepath.Join(server.dir, "tokens.csv")
	if err := errors.Join(os.WriteFile(keyFile, key, 0o600), os.WriteFile(tokens, []byte(token+",admin,admin,system:masters\n"), 0o600)); err != nil {
		return err
	}
	err = launch("kube-apiserver", "--etcd-servers="+etcd, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[2]),
		"--cert-dir="+filepath.Join(server.dir, "certs"), "--token-auth-file="+tokens, "--authorization-mode=RBAC", "--allow-privileged=true",
		"--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://cluster.example",
		"--service-account-key-file="+keyFile, "--service-account-signing-key-file="+keyFile)
	if err != nil {
		return err
	}
	server.kubeconfig = filepath.Join(server.dir, "kubeconfig")
	config := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
users: [{name: test, user: {token: %s}}]
clusters: [{name: test, cluster: {server: "https://127.0.0.1:%d", insecure-skip-tls-verify: true}}]
`, token, ports[2])
	if err := os.WriteFile(server.kubeconfig, []byte(config), 0o600); err != nil {
		return err
	}
	return ready(ctx)
}

// ready waits until the server has made the namespace that the tests use.
func ready(ctx context.Context) error {
	for deadline := time.Now().Add(startWithin); ; time.Sleep(time.Second) {
		out, err := command(ctx, "kubectl", "get", "namespace", "default").CombinedOutput()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(server.dir, "kube-apiserver.log"))
			return fmt.Errorf("it is not ready: %s\n%s", out, said[max(0, len(said)-4000):])
		}
	}
}

// launch starts a program whose output goes to a file.
func launch(program string, args ...string) error {
	log, err := os.Create(filepath.Join(server.dir, program+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w (make test-kubernetes gets the programs)", err)
	}
	server.processes = append(server.processes, cmd)
	return nil
}

// freePorts finds ports that nobody uses.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// signingKey makes the key of service accounts.
func signingKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// command is a client of the server.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+server.kubeconfig, "HOME="+server.dir)
	return cmd
}

// dryRun has the server judge manifests.
func dryRun(t *testing.T, text string) (string, error) {
	t.Helper()
	cmd := command(t.Context(), "kubectl", "apply", "--dry-run=server", "--validate=strict", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// output runs a program that has to succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := command(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stderr.String(), out)
	}
	return string(out)
}
