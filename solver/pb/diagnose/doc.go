// Package diagnose holds what a daemon tells of itself for bug reports. Unlike
// its neighbours it is kiln's own.
//
// The code is generated; see the .proto file for what each message means.
package diagnose
