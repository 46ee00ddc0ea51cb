// Package artifact is the form that caches have in registries and directories:
// documents that name blobs by digest. It promises that the same bundle gives
// the same digest, and that documents read here, which anybody may have
// written, are bounded in size and number.
//
// # Forms
//
//   - Image manifest: the config of the cache stands in the place of the
//     image's configuration, the blobs in that of its layers.
//   - Index: lists the blobs, and the config last, in the place of manifests.
//     Older builders know only this; some registries refuse it.
//   - Image: an ordinary image, or an index of several, whose configuration
//     carries the records (remote.InlineField); its layers are the blobs.
//
// Read tells them apart by what they contain.
//
// # What it does not do
//
// It knows neither registries nor clients: a Target is where documents go, a
// remote.Origin where they come from.
package artifact
