package command

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newDialStdio connects the standard streams to the daemon: the far end of
// every way that leads through another program.
func newDialStdio(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "dial-stdio", Short: "proxy the stdio stream to the daemon connection; should not be invoked manually",
		Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, ok := strings.CutPrefix(g.dial.Addr, "unix://")
			if !ok {
				return fmt.Errorf("invalid address %s (expected unix://)", g.dial.Addr)
			}
			d := net.Dialer{Timeout: time.Duration(g.timeout) * time.Second}
			conn, err := d.DialContext(cmd.Context(), "unix", path)
			if err != nil {
				return err
			}
			defer conn.Close()
			return relay(conn.(*net.UnixConn), g.IO)
		},
	}
}

// relay copies both ways. The end of the input is passed on and the answer
// still waited for; the end of the answer ends it, as a terminal's input
// never does.
func relay(conn *net.UnixConn, streams IO) error {
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, streams.In)
		if err == nil {
			err = conn.CloseWrite()
		}
		sent <- err
	}()
	received := make(chan error, 1)
	go func() {
		_, err := io.Copy(streams.Out, conn)
		received <- err
	}()
	select {
	case err := <-received:
		return err
	case err := <-sent:
		if err != nil {
			return fmt.Errorf("copy stdin to stream: %w", err)
		}
		return <-received
	}
}
