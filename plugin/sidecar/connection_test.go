package sidecar

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestExplain shows that an operator is told which of the two processes could
// not be reached, and that containerd's own words stay as they are.
func TestExplain(t *testing.T) {
	u := &unavailable{path: "/run/c.sock", offer: "/run/p.sock"}
	for text, want := range map[string]string{
		`connection error: desc = "transport: Error while dialing: dial unix /run/c.sock: connect: no such file or directory"`: "containerd at /run/c.sock does not answer",
		`connection error: desc = "transport: Error while dialing dial unix:///run/p.sock: timeout"`:                           "does not reach kiln's snapshotter at /run/p.sock",
		"ref locked": "ref locked",
	} {
		got := u.explain(status.Error(codes.Unavailable, text))
		if status.Code(got) != codes.Unavailable || !strings.Contains(status.Convert(got).Message(), want) {
			t.Errorf("%q is explained as %q, want %q", text, got, want)
		}
	}
	u.offer = ""
	other := status.Error(codes.NotFound, "error while dialing")
	if got := u.explain(other); got != other { //nolint:errorlint // the very same
		t.Errorf("an error of another kind became %v", got)
	}
}
