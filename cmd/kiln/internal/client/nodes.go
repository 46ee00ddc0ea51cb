package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Nodes splits a list of addresses at the commas before a scheme: paths may
// have commas of their own.
func Nodes(list string) []string {
	var out []string
	for part := range strings.SplitSeq(list, ",") {
		if strings.Contains(part, "://") || len(out) == 0 {
			out = append(out, part)
		} else {
			out[len(out)-1] += "," + part
		}
	}
	return out
}

// rank orders addresses for a key, the one to use first. Every client has the
// same order, and an address that comes or goes moves only the keys that it
// gets or had: each has a number for the key, and the highest wins.
func rank(addrs []string, key string) []string {
	score := func(addr string) []byte {
		sum := sha256.Sum256([]byte(addr + "\x00" + key))
		return sum[:]
	}
	out := slices.Clone(addrs)
	slices.SortFunc(out, func(a, b string) int { return bytes.Compare(score(b), score(a)) })
	return out
}

// dialBest connects to the first of several daemons that answers, in the order
// of the build's key. Waiting, if that is wanted, is for the first in it.
func dialBest(ctx context.Context, opt Options, addrs []string) (*Client, error) {
	if opt.BuildKey == "" {
		return nil, fmt.Errorf("--addr names %d daemons (%s), and this is about one: name that", len(addrs), strings.Join(addrs, ", "))
	}
	wait := opt.Wait
	opt.Wait = false
	ranked := rank(addrs, opt.BuildKey)
	var errs []error
	for _, opt.Addr = range ranked {
		c, err := dialOne(ctx, opt)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		errs = append(errs, err)
	}
	if wait {
		opt.Addr, opt.Wait = ranked[0], true
		return dialOne(ctx, opt)
	}
	return nil, errors.Join(errs...)
}
