// Package register makes kiln part of a containerd: importing it registers a snapshotter, a differ and the builder with
// containerd's plugin registry. It has the only init functions of the module. Its promises:
//
//   - Each of the three works without the others: the snapshotter and the differ for ctr, nerdctl and CRI, the builder on
//     any snapshotter that the containerd has.
//   - BuildKit's services answer on containerd's own socket, beside containerd's; nothing else has to listen.
//   - A containerd whose configuration does not mention kiln still starts, and still builds.
//
// # Vocabulary
//
//	io.containerd.snapshotter.v1.kiln  the snapshotter: root_path, mount_options
//	io.containerd.differ.v1.kiln       the differ; [plugins."io.containerd.service.v1.diff-service"] says whether it is used
//	io.containerd.grpc.v1.kiln         the builder: the keys of kilnd.toml, and namespace
//
// A section is what containerd's configuration file says under a plugin's name. The builder's reads like kilnd.toml; of the
// workers it is [worker.containerd] that counts, and its snapshotter is "kiln" unless it says otherwise. Where to listen, log
// and keep state is containerd's business, so those keys have no effect.
//
// # Lifecycle
//
// containerd initialises plugins in the order of what they need and closes them in the reverse order. The builder owns
// two directories below containerd's, and what it started ends with Close.
//
// # What it does not do
//
// The history's own blobs cannot be read over containerd's socket without naming their namespace ("<namespace>_history"),
// since the content service there is containerd's.
package register
