// Package cachetest is the suite that every cache.Store has to pass, with the
// in-memory Results it needs. It promises to test only what the contracts of
// solver.Cache and cache.Store say.
//
// Run is called from a test of the store; Results counts holds, so that leaks
// show, and can lose results, as a garbage collector does.
package cachetest
