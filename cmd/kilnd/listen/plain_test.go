package listen_test

import (
	"io"
	"net"
	"testing"

	"github.com/kilnbuild/kiln/cmd/kilnd/listen"
)

// TestPlainTCP dials a listener without TLS, on this machine and on any.
func TestPlainTCP(t *testing.T) {
	for _, addr := range []string{"tcp://127.0.0.1:0", "tcp://0.0.0.0:0"} {
		ls, err := listen.Open(t.Context(), []string{addr}, listen.Options{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := ls[0].Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "plain")
			conn.Close()
		}()
		_, port, _ := net.SplitHostPort(ls[0].Addr().String())
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != "plain" {
			t.Errorf("%s: %q, %v", addr, got, err)
		}
		conn.Close()
		ls[0].Close()
	}
}
