package http

import (
	"mime"
	"net/url"
	"path"
	"strings"

	"github.com/kilnbuild/kiln/solver/source/singlefile"
)

// filename returns what the file is called: as wished, else as the server says
// in disposition (the Content-Disposition header, may be empty), else as the
// URL ends. The result is always a single component that is not special.
func filename(wish, disposition string, u *url.URL) string {
	if wish != "" {
		return singlefile.SafeName(wish)
	}
	if disposition != "" {
		if _, params, err := mime.ParseMediaType(disposition); err == nil {
			if name := params["filename"]; name != "" && !strings.HasSuffix(name, "/") {
				return singlefile.SafeName(name)
			}
		}
	}
	return singlefile.SafeName(path.Base(u.Path))
}
