package llb

import (
	"maps"
	"slices"

	"github.com/kilnbuild/kiln/solver/pb/apicaps"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Maturity of a capability; it shows in the error when one is missing.
const (
	experimental = "experimental "
	prerelease   = "prerelease "
)

// advertised lists the capabilities that a client may ask for, with their
// maturity. The ids are wire facts, the misspelt one included.
var advertised = map[string]string{
	"source.image":             experimental,
	"source.image.resolvemode": experimental,
	"source.image.layerlimit":  experimental,
	"source.image.checksum":    experimental,
	"source.imageblob":         experimental,
	"source.ocilayout":         experimental,

	"source.local":                  experimental,
	"source.local.unique":           experimental,
	"source.local.sessionid":        experimental,
	"source.local.includepatterns":  experimental,
	"source.local.followpaths":      experimental,
	"source.local.excludepatterns":  experimental,
	"source.local.sharedkeyhint":    experimental,
	"source.local.differ":           experimental,
	"source.local.metadatatransfer": experimental,

	"source.git":                 experimental,
	"source.git.keepgitdir":      experimental,
	"source.git.fullurl":         experimental,
	"source.git.httpauth":        experimental,
	"source.git.knownsshhosts":   experimental,
	"source.git.mountsshsock":    experimental,
	"source.git.subdir":          experimental,
	"source.git.checksum":        experimental,
	"source.git.skipsubmodules":  experimental,
	"source.git.signatureverify": experimental,
	"source.git.mtime":           experimental,
	"source.git.fetchbycommit":   experimental,
	"source.git.bundle":          experimental,
	"source.git.checkoutbundle":  experimental,

	"source.http":                 experimental,
	"source.http.auth":            experimental,
	"source.http.checksum":        experimental,
	"source.http.perm":            experimental,
	"soruce.http.uidgid":          experimental,
	"source.http.header":          experimental,
	"source.http.signatureverify": experimental,

	"source.buildop.llbfilename": experimental,

	"exec.meta.base":                experimental,
	"exec.meta.cgroup.parent":       experimental,
	"exec.meta.network":             experimental,
	"exec.meta.network.proxy":       experimental,
	"exec.meta.proxyenv":            experimental,
	"exec.meta.security":            experimental,
	"exec.meta.security.devices.v1": experimental,
	"exec.meta.setsdefaultpath":     experimental,
	"exec.meta.ulimit":              experimental,
	"exec.meta.cdi":                 experimental,
	"exec.meta.linux.resources":     experimental,

	"exec.mount.bind":                    experimental,
	"exec.mount.bind.readwrite-nooutput": experimental,
	"exec.mount.cache":                   experimental,
	"exec.mount.cache.sharing":           experimental,
	"exec.mount.cache.content":           experimental,
	"exec.mount.selector":                experimental,
	"exec.mount.tmpfs":                   experimental,
	"exec.mount.tmpfs.size":              experimental,
	"exec.mount.secret":                  experimental,
	"exec.mount.ssh":                     experimental,
	"exec.cgroup":                        experimental,
	"exec.secretenv":                     experimental,
	"exec.validexitcode":                 experimental,

	"file.base":                                prerelease,
	"file.rm.wildcard":                         experimental,
	"file.rm.nofollowsymlink":                  experimental,
	"file.copy.includeexcludepatterns":         experimental,
	"file.copy.requiredpaths":                  experimental,
	"file.copy.alwaysreplaceexistingdestpaths": experimental,
	"file.symlink.create":                      experimental,

	"constraints":      experimental,
	"platform":         experimental,
	"meta.ignorecache": experimental,
	"meta.description": experimental,
	"meta.exportcache": experimental,

	"mergeop":       experimental,
	"diffop":        experimental,
	"passthroughop": experimental,

	// The rest is no part of a graph: clients test for these before they ask
	// for a feature elsewhere.
	"cache.gha":                   experimental,
	"cache.s3":                    experimental,
	"cache.azblob":                experimental,
	"exporter.image.annotations":  experimental,
	"exporter.image.attestations": experimental,
	"exporter.sourcedateepoch":    experimental,
	"exporter.multiple":           experimental,
	"exporter.session":            experimental,
	"source.policy":               experimental,
	"source.policy.session":       experimental,
	"gc.freespacefilter":          experimental,
	"history.filter":              experimental,
}

// accepted lists capabilities that we have and that clients know, but that no
// daemon advertises. A client that demands one is served.
var accepted = map[string]string{
	"exec.meta.removemountstubs.recursive": experimental,
	"file.copy.modestring":                 experimental,
}

// Caps returns the capabilities to advertise, sorted by id, all enabled. The
// caller owns the list.
func Caps() []*apicaps.APICap {
	list := make([]*apicaps.APICap, 0, len(advertised))
	for _, id := range slices.Sorted(maps.Keys(advertised)) {
		list = append(list, &apicaps.APICap{ID: id, Enabled: true})
	}
	return list
}

// HasCap reports whether a graph may demand the capability.
func HasCap(id string) bool {
	_, known := advertised[id]
	if !known {
		_, known = accepted[id]
	}
	return known
}

// capChecker compares demands with what the daemon allows.
type capChecker struct {
	// disabled holds the reasons of switched off capabilities by id.
	disabled map[string]string
	product  string
}

// check fails on the first demand, in order of ids, that is not met. The
// value of an entry says nothing; being listed is the demand.
func (c capChecker) check(meta *pb.OpMetadata) error {
	for _, id := range slices.Sorted(maps.Keys(meta.GetCaps())) {
		if !HasCap(id) {
			return invalidf("requested feature %s is not supported by build server, please update %s", id, c.product)
		}
		if reason, off := c.disabled[id]; off {
			suffix := ""
			if reason != "" {
				suffix = ": " + reason
			}
			return invalidf("requested %sfeature %s has been disabled on the build server%s", advertised[id], id, suffix)
		}
	}
	return nil
}
