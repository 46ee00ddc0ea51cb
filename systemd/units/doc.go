// Package units has the unit files of kilnd, for the system, for users and for
// several daemons on one machine, as they are installed.
//
// # Vocabulary
//
//   - System holds what goes to /usr/lib/systemd/system, User what goes to
//     /usr/lib/systemd/user.
//   - kilnd, docker: the names of the sockets, see FileDescriptorName=.
//
// # What it does not do
//
// It installs nothing; packages do. The files say why each setting is as it is,
// and why what systemd would forbid is allowed.
package units

import "embed"

// Files are the folders system and user.
//
//go:embed system user
var Files embed.FS
