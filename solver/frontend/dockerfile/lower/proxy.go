package lower

import (
	"maps"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// proxyFrom collects the proxy settings among the build arguments, nil if there
// are none. They reach processes without being declared, and neither cache keys
// nor the image know of them.
func proxyFrom(args map[string]string) *compose.Proxy {
	var proxy compose.Proxy
	found := false
	for _, name := range slices.Sorted(maps.Keys(args)) {
		var to *string
		switch strings.ToLower(name) {
		case "http_proxy":
			to = &proxy.HTTP
		case "https_proxy":
			to = &proxy.HTTPS
		case "ftp_proxy":
			to = &proxy.FTP
		case "no_proxy":
			to = &proxy.No
		case "all_proxy":
			to = &proxy.All
		default:
			continue
		}
		*to, found = args[name], true
	}
	if !found {
		return nil
	}
	return &proxy
}
