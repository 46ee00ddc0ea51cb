// Package attach has the services a client offers to the daemon during a
// build: local directories, places for results, registry credentials, secrets.
// It promises that the daemon gets nothing that was not named on the command
// line.
package attach
