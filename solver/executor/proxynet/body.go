package proxynet

import (
	"errors"
	"hash"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// body reads an answer along and records at its end what it was.
type body struct {
	io.ReadCloser
	hash hash.Hash
	// whole is set at the end of the answer.
	whole bool
	// done is called once, with the reason why the answer is no material, or
	// none and the digest of it.
	done func(reason string, d digest.Digest)
}

// Read hashes what passes.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	_, _ = b.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		b.whole = true
	}
	return n, err
}

// Close records.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	if b.done != nil {
		reason := ""
		if !b.whole {
			reason = solver.ReasonUnread
		}
		b.done(reason, digest.NewDigest(digest.SHA256, b.hash))
		b.done = nil
	}
	return err
}

// unfit is why an answer can be no material, whatever is in it; empty if it
// may be one.
func unfit(req *http.Request, resp *http.Response) string {
	switch {
	case req.Method != http.MethodGet:
		return solver.ReasonMethod
	case req.Header.Get("Range") != "" || resp.StatusCode == http.StatusPartialContent:
		return solver.ReasonPartial
	}
	return ""
}
