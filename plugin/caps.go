package plugin

// disabledCaps are capabilities of the protocol that this builder does not
// have, with what users are told. Clients look before they ask: it is better
// to say no than to leave something out of a build silently.
var disabledCaps = func() map[string]string {
	out := map[string]string{}
	for reason, ids := range map[string][]string{
		"git sources are not supported": {
			"source.git", "source.git.keepgitdir", "source.git.fullurl", "source.git.httpauth", "source.git.knownsshhosts",
			"source.git.mountsshsock", "source.git.subdir", "source.git.checksum", "source.git.skipsubmodules",
			"source.git.signatureverify", "source.git.mtime", "source.git.fetchbycommit", "source.git.bundle", "source.git.checkoutbundle",
		},
		"http sources are not supported": {
			"source.http", "source.http.auth", "source.http.checksum", "source.http.perm", "soruce.http.uidgid", "source.http.header",
			"source.http.signatureverify",
		},
		"blob sources are not supported":             {"source.imageblob"},
		"metadata-only transfers are not supported":  {"source.local.metadatatransfer"},
		"forwarding SSH agents is not supported":     {"exec.mount.ssh"},
		"devices are not supported":                  {"exec.meta.cdi", "exec.meta.security.devices.v1"},
		"proxied networks are not supported":         {"exec.meta.network.proxy"},
		"nested builds are not supported":            {"source.buildop.llbfilename"},
		"passthrough ops are not supported":          {"passthroughop"},
		"remote caches are not supported":            {"cache.gha", "cache.s3", "cache.azblob"},
		"attestations are not supported":             {"exporter.image.attestations"},
		"exporters of the session are not supported": {"exporter.session"},
		"source policies are not supported":          {"source.policy", "source.policy.session"},
	} {
		for _, id := range ids {
			out[id] = reason
		}
	}
	return out
}()
