// Package rpcerr carries the builder's errors across gRPC without losing what
// they say: the code, and details such as the failed vertex, the place in the
// Dockerfile and the exit code. It promises that FromStatus of ToStatus gives
// errors that errors.As finds again.
//
// # Wire format
//
// A status detail is an Any whose type URL is
// "github.com/moby/buildkit/<name>+json" and whose value is JSON, outermost
// error first. Details with other type URLs are passed over.
package rpcerr
