package http

import (
	"mime"
	"net/url"
	"path"
	"strings"
	"unicode"
)

// fallbackName is what a file is called when nothing says so.
const fallbackName = "download"

// maxName is the longest name a file can have, in bytes.
const maxName = 255

// filename returns what the file is called: as wished, else as the server says
// in disposition (the Content-Disposition header, may be empty), else as the
// URL ends. The result is always a single component that is not special.
func filename(wish, disposition string, u *url.URL) string {
	if wish != "" {
		return safeName(wish)
	}
	if disposition != "" {
		if _, params, err := mime.ParseMediaType(disposition); err == nil {
			if name := params["filename"]; name != "" && !strings.HasSuffix(name, "/") {
				return safeName(name)
			}
		}
	}
	return safeName(path.Base(u.Path))
}

// safeName keeps the last component of a name, or replaces it: it stops names
// such as "../x", "/etc/passwd" and ones with control characters.
func safeName(s string) string {
	name := path.Base(strings.TrimSpace(s))
	switch {
	case name == ".", name == "..", name == "/", len(name) > maxName, strings.ContainsFunc(name, unicode.IsControl):
		return fallbackName
	}
	return name
}
