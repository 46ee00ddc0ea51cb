// Package http is the source of single files behind URLs. It promises that a
// file that has not changed on its server is not transferred again, that
// nothing a server says leads out of the file's own layer, and that neither
// slow nor endless servers hold a build for ever.
//
// # Vocabulary
//
//   - Spec: what the identifier asks for: URL, name, mode and owner of the
//     file, expected digest, request headers.
//   - Validator: an ETag, or a Last-Modified old enough to be telling, that a
//     later request sends along.
//   - Record: what is known of a spec since its last transfer: ref, digest,
//     name, validator. Records are small files, replaced whole.
//   - Upload: a file that the client itself holds ready once, addressed as
//     host "buildkit-session".
//
// # Scenario
//
// Key of a pinned URL needs no network. For others it asks the server, first by
// HEAD with the ETag of the record; "not modified", or an answer with the ETag
// we have, makes the recorded ref the result. Any other answer has us ask for
// the file itself, which is written into a new layer at once, since its digest
// is the key. Fetch hands out the ref that Key found. Within one session a URL
// is asked once and its ref held, so that every step sees the same bytes,
// whatever is pruned meanwhile. A signature is checked before there is a key.
//
// # Limits
//
// A file has at most Config.MaxSize bytes. Ten redirects are followed;
// credentials go only to the scheme, host and port they are for. A server has
// 30 s for the connection, two minutes for the header and one minute without a
// byte after it. Requests that fail before the body are repeated twice.
//
// # Concurrency
//
// Source is safe for concurrent use, calls on one instance are sequential.
//
// # What it does not do
//
// It does not unpack archives and does not resume transfers that broke off.
package http
