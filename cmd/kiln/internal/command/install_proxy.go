package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"
)

// Defaults of install-proxy. The directory is the one that "containerd config default" imports since 2.2; a containerd
// without that line, or without a configuration, does not look there.
const (
	proxyAddress = "/run/kiln/proxy.sock"
	proxyFile    = "/etc/containerd/conf.d/kiln.toml"
	proxyConfig  = "/etc/containerd/config.toml"
	proxyRoot    = "/var/lib/kiln"
)

// proxyHeader starts a file that this command may write again.
const proxyHeader = "# Written by kiln install-proxy: kiln's snapshotter and differ, served by kilnd beside this containerd.\n"

// proxyPart is read by containerd 1.6 and later: a newer one takes the older version, also beside a newer file. The differ
// is named only where it is asked for: a containerd before 1.7 does not start with a differ of another process. Strings are
// quoted the way Go and TOML agree on.
var proxyPart = template.Must(template.New("containerd").Parse(proxyHeader + `version = 2

[proxy_plugins.kiln]
  type = "snapshot"
  address = {{ printf "%q" .Address }}
  capabilities = ["kiln-merge"]
  # Where layers are: Kubernetes watches the free space of this disk.
  exports = { root = {{ printf "%q" .Layers }} }
{{- if .Differ }}

[proxy_plugins.kiln-diff]
  type = "diff"
  address = {{ printf "%q" .Address }}

# The first differ that knows a media type is used. All pulls need kilnd from now on.
[plugins."io.containerd.service.v1.diff-service"]
  default = ["kiln-diff", "walking"]
{{- end }}

# Pulls of Kubernetes, and of ctr, unpack for the snapshotters that are listed here.
{{ range .Snapshotters -}}
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = {{ printf "%q" $.Platform }}
  snapshotter = {{ printf "%q" . }}
  differ = {{ if $.Differ }}"kiln-diff"{{ else }}"walking"{{ end }}
{{ end -}}
`))

// installProxy is the command "install-proxy".
type installProxy struct {
	*globals
	Address string
	Differ  bool
	root    string
	write   bool
	file    string
	config  string
}

// Layers is the directory in which kilnd keeps its snapshotter's layers.
func (c *installProxy) Layers() string { return filepath.Join(c.root, "snapshots") }

// Platform is what containerd by itself unpacks for.
func (c *installProxy) Platform() string { return platforms.DefaultString() }

// Snapshotters are those that pulls unpack for: containerd's default, which a list replaces, and kiln's.
func (c *installProxy) Snapshotters() []string { return []string{"overlayfs", "kiln"} }

func newInstallProxy(g *globals) *cobra.Command {
	c := &installProxy{globals: g}
	cmd := &cobra.Command{
		Use:   "install-proxy",
		Short: "offer kiln's snapshotter and differ to a containerd",
		Long: `Prints what a containerd's configuration needs for kiln's snapshotter and differ, which
"kilnd --containerd ADDRESS" serves to it, or writes it to a file with --write. containerd's own
configuration has to import that file; where it does not, --write says what is missing.
Restart containerd afterwards, then kilnd.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.run() },
	}
	f := cmd.Flags()
	f.StringVar(&c.Address, "address", proxyAddress, "path of the socket that kilnd will serve")
	f.StringVar(&c.root, "root", proxyRoot, "the --root of that kilnd")
	f.BoolVar(&c.Differ, "default-differ", false, "let containerd, 1.7 or later, use kiln's differ for everything, so that all pulls need kilnd")
	f.BoolVar(&c.write, "write", false, "write the file instead of printing it")
	f.StringVar(&c.file, "file", proxyFile, "file to write")
	f.StringVar(&c.config, "config", proxyConfig, "containerd's configuration, which is only read")
	return cmd
}

func (c *installProxy) run() error {
	if !filepath.IsAbs(c.Address) {
		return fmt.Errorf("--address %q: write the absolute path of a socket", c.Address)
	}
	if !filepath.IsAbs(c.root) {
		return fmt.Errorf("--root %q: write the absolute path of a directory", c.root)
	}
	var text bytes.Buffer
	if err := proxyPart.Execute(&text, c); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if !c.write {
		_, err := c.Out.Write(text.Bytes())
		return err
	}
	old, err := os.ReadFile(c.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for an older file: %w", err)
	}
	if err == nil && !bytes.HasPrefix(old, []byte(proxyHeader)) {
		return fmt.Errorf("%s is not a file of this command; remove it or choose another one with --file", c.file)
	}
	if err := c.replace(text.Bytes()); err != nil {
		return err
	}
	return c.next()
}

// next says what is left to do.
func (c *installProxy) next() error {
	text := "wrote %[1]s; restart containerd, then kilnd\n"
	found, err := imports(c.config, c.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text = "wrote %[1]s, which nothing reads yet. Write these two lines to %[2]s:\n\n" +
			"version = 2\nimports = [%[3]q]\n\nThen restart containerd, then kilnd.\n"
	case err != nil:
		return fmt.Errorf("wrote %s, but cannot tell whether containerd reads it: %w", c.file, err)
	case !found:
		text = "wrote %[1]s, which %[2]s does not import yet. Write this line into it, above the first\n" +
			"table (the first line that begins with \"[\"), or add to the imports that it has:\n\n" +
			"imports = [%[3]q]\n\nThen restart containerd, then kilnd.\n"
	}
	_, err = fmt.Fprintf(c.Err, text, c.file, c.config, filepath.Join(filepath.Dir(c.file), "*.toml"))
	return err
}

// replace writes the file in one step: a containerd that starts in between reads the old one or the new one.
func (c *installProxy) replace(text []byte) error {
	dir := filepath.Dir(c.file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	// containerd reads *.toml, so not this one.
	f, err := os.CreateTemp(dir, ".kiln-*")
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write configuration: %w", err), os.Remove(f.Name()))
	}
	return nil
}
