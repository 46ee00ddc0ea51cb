// Package event is the news of the daemon: what happened to images and to the
// build cache, for clients of /events. It promises that nobody who listens, or
// has stopped to, holds up what is told.
//
// # Vocabulary
//
//   - Event: one thing that happened, with the object it happened to.
//   - Hub: where events are told; it remembers the last ones.
//   - Subscription: one listener. One that does not keep up misses events; it
//     never delays those who tell them.
//
// # Lifecycle
//
// A Hub starts nothing and needs no end. A Subscription is closed by its owner.
//
// # Concurrency
//
// Everything here is safe for concurrent use.
//
// # What it does not do
//
// It keeps nothing across restarts, and knows neither filters nor formats.
package event
