package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"

	"github.com/spf13/cobra"
)

// Defaults of install-proxy. containerd reads the directory by itself since 2.3; an older one is told by "imports".
const (
	proxyAddress = "/run/kiln/proxy.sock"
	proxyFile    = "/etc/containerd/conf.d/kiln.toml"
)

// proxyHeader starts a file that this command may write again.
const proxyHeader = "# Written by kiln install-proxy: kiln's snapshotter and differ, served by kilnd beside this containerd.\n"

// proxyConfig is read by containerd 1.7 and later: a newer one takes the older version, also beside a newer file. Strings
// are quoted the way Go and TOML agree on.
var proxyConfig = template.Must(template.New("containerd").Parse(proxyHeader + `version = 2

[proxy_plugins.kiln]
  type = "snapshot"
  address = {{ printf "%q" .Address }}
  capabilities = ["kiln-merge"]

[proxy_plugins.kiln-diff]
  type = "diff"
  address = {{ printf "%q" .Address }}
{{- if .Differ }}

# The first differ that knows a media type is used. All pulls need kilnd from now on.
[plugins."io.containerd.service.v1.diff-service"]
  default = ["kiln-diff", "walking"]
{{- end }}
`))

// installProxy is the command "install-proxy".
type installProxy struct {
	*globals
	Address string
	Differ  bool
	write   bool
	file    string
}

func newInstallProxy(g *globals) *cobra.Command {
	c := &installProxy{globals: g}
	cmd := &cobra.Command{
		Use:   "install-proxy",
		Short: "offer kiln's snapshotter and differ to a containerd",
		Long: `Prints what a containerd's configuration needs for kiln's snapshotter and differ, which
"kilnd --containerd ADDRESS" serves to it, or writes it to a file with --write. containerd 2.3 and
later reads files in /etc/containerd/conf.d by itself; others need imports = ["` + proxyFile + `"]
in config.toml. Restart containerd, then kilnd.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.run() },
	}
	f := cmd.Flags()
	f.StringVar(&c.Address, "address", proxyAddress, "path of the socket that kilnd will serve")
	f.BoolVar(&c.Differ, "default-differ", false, "let containerd use kiln's differ for everything, so that all pulls need kilnd")
	f.BoolVar(&c.write, "write", false, "write the file instead of printing it")
	f.StringVar(&c.file, "file", proxyFile, "file to write")
	return cmd
}

func (c *installProxy) run() error {
	if !filepath.IsAbs(c.Address) {
		return fmt.Errorf("--address %q: write the absolute path of a socket", c.Address)
	}
	var text bytes.Buffer
	if err := proxyConfig.Execute(&text, c); err != nil {
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
	_, err = fmt.Fprintf(c.Err, "wrote %s; restart containerd, then kilnd\n", c.file)
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
