// Package tig stands in for a package of nerdctl's test tools, which nerdctl's programs import by accident and which
// cannot be downloaded by itself. It promises to have the one interface that they name, and nothing calls it.
package tig
