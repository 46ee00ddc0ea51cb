// Package gha keeps caches in the cache service of GitHub Actions, versions 1
// and 2 of its protocol. See package bucket for what is promised.
//
// The service has no names that change: a config is written under its key with
// a number behind it, and the newest one is read. Which scopes (branches) may
// be read and which one written is said by the token, which the client gets
// from its environment. An import reads the caches of all of them.
package gha
