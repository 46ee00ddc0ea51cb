// Package cdi knows the devices of this machine that steps can be given: those
// that specifications of the Container Device Interface describe. It promises
// that what List shows is what Inject can give, at the moment of the call:
// specifications may come and go while the daemon runs.
//
// # Vocabulary
//
//   - Specification: a file that says what a container needs for a device:
//     device nodes, mounts, variables, hooks. Whoever can write one decides what
//     runs on the host, so the directories belong to the administrator.
//   - Kind: vendor/class, such as vendor.example/gpu. A device's full name is
//     kind=name.
//   - Class: what an annotation of a device says it is. A build can ask for a
//     class without knowing vendors.
//   - Auto-allowed: given to every build that asks, because the configuration
//     or an annotation says so. All others need the "device" entitlement, which
//     is checked elsewhere.
//
// # Concurrency
//
// A Registry is safe for concurrent use and has no goroutines: directories are
// read when somebody asks. Nothing here installs drivers on demand: a machine's
// devices are what its administrator set up.
package cdi
