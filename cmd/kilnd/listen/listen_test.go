package listen_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/cmd/kilnd/listen"
)

func TestUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "kilnd.sock")
	gid := 12345
	ls, err := listen.Open(t.Context(), []string{"unix://" + path}, listen.Options{GID: &gid})
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o660 || int(st.Sys().(*syscall.Stat_t).Gid) != gid {
		t.Errorf("socket has mode %v and gid %d", st.Mode(), st.Sys().(*syscall.Stat_t).Gid)
	}
	if _, err := listen.Open(t.Context(), []string{"unix://" + path}, listen.Options{}); err == nil ||
		!strings.Contains(err.Error(), "another process serves it") {
		t.Errorf("second listener: %v", err)
	}
	ls[0].(*net.UnixListener).SetUnlinkOnClose(false) // as after kill -9
	ls[0].Close()
	ls, err = listen.Open(t.Context(), []string{"unix://" + path}, listen.Options{})
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	ls[0].Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen.Open(t.Context(), []string{"unix://" + path}, listen.Options{}); err == nil {
		t.Error("a file was replaced by a socket")
	}
}

func TestAddresses(t *testing.T) {
	none := func(string) []net.Listener { return nil }
	for address, want := range map[string]string{
		"/run/x.sock":       "has no scheme",
		"npipe:////./pipe":  "unsupported scheme",
		"unix://relative":   "must be absolute",
		"fd://3":            "unsupported",
		"fd://docker":       "FileDescriptorName=docker",
		"fd://":             "no sockets",
		"tcp://nowhere:xyz": "listen tcp",
	} {
		_, err := listen.Open(t.Context(), []string{address}, listen.Options{Inherited: none})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
}

// TestAllOrNone checks that a wrong address closes those before it.
func TestAllOrNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	if _, err := listen.Open(t.Context(), []string{"unix://" + path, "fd://3"}, listen.Options{}); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("socket is left: %v", err)
	}
}

func TestInherited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wrapped := 0
	ls, err := listen.Open(t.Context(), []string{"fd://kilnd"}, listen.Options{
		Inherited: func(name string) []net.Listener {
			if name != "kilnd" {
				return nil
			}
			return []net.Listener{inner}
		},
		Wrap: func(l net.Listener, inherited bool) net.Listener {
			if inherited {
				wrapped++
			}
			return l
		},
	})
	if err != nil || len(ls) != 1 || wrapped != 1 {
		t.Fatalf("%v, %v, wrapped %d", ls, err, wrapped)
	}
	ls[0].Close()
}

// authority makes certificates for the test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", true)
	return a
}

// issue writes name.pem and name.key.
func (a *authority) issue(name string, isCA bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{
		".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(a.path(name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", false)
	a.issue("client", false)
	config, err := listen.ServerTLS(a.path("server.pem"), a.path("server.key"), a.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ls, err := listen.Open(t.Context(), []string{"tcp://127.0.0.1:0"}, listen.Options{TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	defer ls[0].Close()
	go func() {
		for {
			conn, err := ls[0].Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("x"))
			conn.Close()
		}
	}()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	read := func(certs ...tls.Certificate) error {
		conn, err := tls.Dial("tcp", ls[0].Addr().String(), &tls.Config{RootCAs: pool, Certificates: certs})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	pair, err := tls.LoadX509KeyPair(a.path("client.pem"), a.path("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := read(pair); err != nil {
		t.Errorf("client with certificate: %v", err)
	}
	if err := read(); err == nil {
		t.Error("client without certificate was served")
	}
}

func TestServerTLSRefusals(t *testing.T) {
	a := newAuthority(t)
	if c, err := listen.ServerTLS("", "", ""); c != nil || err != nil {
		t.Errorf("nothing set: %v %v", c, err)
	}
	for _, args := range [][3]string{
		{a.path("ca.pem"), "", ""}, {"", "", a.path("ca.pem")}, {a.path("ca.pem"), a.path("missing"), ""},
		{a.path("ca.pem"), a.path("ca.key"), a.path("ca.key")},
	} {
		if _, err := listen.ServerTLS(args[0], args[1], args[2]); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestGroupID(t *testing.T) {
	for group, want := range map[string]int{"17": 17, "root": 0} {
		if id, err := listen.GroupID(group); err != nil || id != want {
			t.Errorf("%s: %d, %v", group, id, err)
		}
	}
	if _, err := listen.GroupID("no-such-group-here"); err == nil {
		t.Error("unknown group: no error")
	}
}
