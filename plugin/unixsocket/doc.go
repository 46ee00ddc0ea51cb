// Package unixsocket makes the sockets that programs of this machine reach the
// builder by.
//
// A socket is for its owner alone from the first moment on, whatever the umask
// of the process; whoever wants others to connect opens it afterwards. A path
// that the kernel has no room for is told as such, with both numbers: its own
// answer is "invalid argument".
//
// What stands at the path before is the caller's affair.
package unixsocket
