package plugin

import (
	"github.com/kilnbuild/kiln/dockerapi/imagestore"
	"github.com/kilnbuild/kiln/snapshotter"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/archive"
	"github.com/kilnbuild/kiln/solver/export/files"
	"github.com/kilnbuild/kiln/solver/export/image"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/session"
)

// newExporters makes the exporters by their wire names.
func (b *Builder) newExporters(registries *registry.Client, sessions *session.Manager, version string) map[string]export.Exporter {
	h := &b.host
	// Readers of bills of materials know the name.
	creator := "Tool: buildkit-" + version
	images := image.Config{
		Namespace: h.Namespace, Content: h.Content, Leases: h.Leases, Images: h.Images, Snapshotter: h.Snapshotter,
		SnapshotterName: h.SnapshotterName, Applier: h.Applier, Registry: registries, Durable: h.Sync, Creator: creator,
		Linked: h.Private,
	}
	if own, ok := h.Backend.(*snapshotter.Snapshotter); ok {
		images.UpperDir = own.UpperDir
	}
	archives := func(f archive.Format) *archive.Exporter {
		return archive.New(archive.Config{
			Format: f, Namespace: h.Namespace, Content: h.Content, Leases: h.Leases, Sessions: sessions, Creator: creator,
		})
	}
	return map[string]export.Exporter{
		"image":  image.New(images),
		"moby":   imagestore.NewSquasher(b.imageStore(), image.NewEngine(b.engineImages(images))),
		"oci":    archives(archive.OCI),
		"docker": archives(archive.Docker),
		"local":  files.New(files.Config{Sessions: sessions}),
		"tar":    files.New(files.Config{Sessions: sessions, Tar: true}),
	}
}
