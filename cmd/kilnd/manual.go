package main

import "github.com/kilnbuild/kiln/cmd/internal/manual"

// description is what the manual begins with.
const description = `kilnd builds container images for docker build, docker buildx, buildctl, nerdctl and kiln. It has the services of a
containerd in itself, or works in one that runs already (--containerd).

Flags count more than the configuration file, which is read again at SIGHUP. SIGTERM stops the daemon: with --drain, builds that run
may end first, and a second signal cancels them.

Under systemd, --addr fd:// takes all sockets that are passed, and --addr fd://NAME those of one FileDescriptorName=. A socket that
is called docker gets the Docker API.`

// manualInfo is the rest of it.
var manualInfo = manual.Info{
	Section: 8,
	Files: [][2]string{
		{"/etc/kiln/kilnd.toml", "the configuration, in the words of buildkitd.toml"},
		{"/var/lib/kiln", "state: images, cache, history"},
		{"/run/kiln/kilnd.sock", "the socket of clients"},
		{"/run/kiln/docker.sock", "the socket of the Docker API"},
		{"/run/kiln/containerd.sock", "the containerd inside, for ctr"},
	},
	SeeAlso: []string{"kiln(1)", "systemd.service(5)"},
}
