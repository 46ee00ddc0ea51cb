// Package behind writes a stream one step behind its producer, so that making
// bytes and hashing or compressing them are two cores' work.
//
// Promise: the destination sees the bytes in order, from one goroutine, and the
// first of its errors reaches the producer.
//
// # Lifecycle and concurrency
//
// New, Write, Close. A Writer is used by one goroutine at a time and owns the
// one that it starts, which ends with Close.
//
// # What it does not do
//
// It does not close the destination.
package behind
