// Package guest makes a frontend a program of its own, to be put into an image:
// it is the other side of package gateway. It promises that a frontend.Frontend
// cannot tell whether it runs in the daemon or here, and that it runs under any
// builder that speaks the protocol.
//
// # Vocabulary
//
//   - Host: the builder that started the program and serves the bridge on its
//     standard streams. Standard error is for the log.
//   - Return: the last call, with the result or the error. The program then
//     ends well, whatever it returned.
//
// # Lifecycle
//
// Run reads options from the environment, opens the connection, asks the host
// what it can do, calls the frontend and returns what it says.
//
// # What it does not do
//
// It starts no containers, and it reads nothing but the environment: a file of
// the image is for the frontend to read.
package guest
