package rpcerr_test

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// Daemons write the action by name; the messages are found all the same.
func TestDenials(t *testing.T) {
	sent := rpcerr.ToStatus(&rpcerr.DenyError{Messages: []string{"too old"}, Err: errors.New("denied")})
	named := &status.Status{Code: 2, Message: "denied", Details: []*anypb.Any{{
		TypeUrl: "github.com/moby/buildkit/policysession.DecisionResponse+json",
		Value:   []byte(`{"action":"DENY","denyMessages":[{"message":"too old"},{}]}`),
	}}}
	for _, s := range []*status.Status{sent, named} {
		var deny *rpcerr.DenyError
		if err := rpcerr.FromStatus(s); !errors.As(err, &deny) || !slices.Equal(deny.Messages, []string{"too old"}) {
			t.Errorf("%v: denial is lost: %#v", s, err)
		}
	}
}
