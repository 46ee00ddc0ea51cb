// Command containerd-kiln is containerd with kiln compiled in: it takes containerd's flags, reads containerd's
// configuration and serves everything that containerd serves. In addition there are a snapshotter and a differ named
// "kiln", and the socket answers buildctl, docker buildx and nerdctl build, whose images are in containerd's own store the
// moment they are built.
//
//	containerd-kiln --config /etc/containerd/config.toml
//	BUILDKIT_HOST=unix:///run/containerd/containerd.sock nerdctl build -t app .
//
// See package plugin/register for the sections of the configuration.
package main
