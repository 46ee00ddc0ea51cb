// Package sourcepolicy holds rules about the sources of a build.
//
// The code is generated; see the .proto file for what each message means.
package sourcepolicy
