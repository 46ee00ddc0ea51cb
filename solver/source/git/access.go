package git

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/session"
)

// idleLimit is how long a command that talks to a remote may say nothing.
const idleLimit = 5 * time.Minute

// access is what commands of one build talk to remotes with. It has a private
// directory, and an agent socket while that is open.
type access struct {
	*command
	// build is the one that the access is for.
	build solver.Env
	dir   string
	agent *session.AgentSocket
}

// newAccess collects the credentials for a spec. The caller closes it.
func (s *Source) newAccess(ctx context.Context, env solver.Env, sp *spec) (a *access, err error) {
	a = &access{build: env}
	if a.dir, err = os.MkdirTemp(s.tmp, ""); err != nil {
		return nil, fmt.Errorf("make directory for git: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	a.command = &command{
		home: filepath.Join(a.dir, "home"), protocols: "http:https:ssh:git", idle: idleLimit,
		log: progress.NewLogWriter(env, solver.Stderr, progress.DefaultLogLimits(), nil),
	}
	if err := os.Mkdir(a.home, 0o700); err != nil {
		return nil, fmt.Errorf("make directory for git: %w", err)
	}
	auth, err := s.authorization(ctx, env, sp)
	if err != nil {
		return nil, err
	}
	if auth != "" {
		a.settings = append(a.settings, setting{"http." + sp.remote.tokenScope() + ".extraHeader", "Authorization: " + auth})
		a.hide = append(a.hide, hidden(auth)...)
	}
	return a, a.openSSH(ctx, s, env, sp)
}

// close removes what the access had.
func (a *access) close() error {
	var err error
	if a.agent != nil {
		err = a.agent.Close()
	}
	return errors.Join(err, os.RemoveAll(a.dir))
}

// authorization returns the header for the remote, or "". Secrets for the host
// go before general ones, headers before tokens; the URL's own come last.
func (s *Source) authorization(ctx context.Context, env solver.Env, sp *spec) (string, error) {
	if sp.remote.scheme != "http" && sp.remote.scheme != "https" {
		return "", nil
	}
	for _, suffix := range []string{"." + sp.remote.host, ""} {
		for _, name := range []string{sp.headerSecret, sp.tokenSecret} {
			if name == "" || len(env.Sessions()) == 0 {
				continue
			}
			b, err := s.cfg.Sessions.Secret(ctx, env.Sessions(), name+suffix)
			if errdefs.IsNotFound(err) || errors.Is(err, session.ErrNone) {
				continue
			}
			if err != nil {
				return "", err
			}
			v := strings.TrimRight(string(b), "\r\n")
			if strings.ContainsFunc(v, isControl) {
				return "", fmt.Errorf("secret %s is not one line: %w", name+suffix, errdefs.ErrInvalidArgument)
			}
			if name == sp.tokenSecret {
				v = "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+v))
			}
			return v, nil
		}
	}
	return sp.remote.auth, nil
}

// hidden lists what of a header must not be seen.
func hidden(auth string) []string {
	out := []string{auth}
	if _, value, ok := strings.Cut(auth, " "); ok && value != "" {
		out = append(out, value)
		if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
			if _, pass, ok := strings.Cut(string(plain), ":"); ok && pass != "" {
				out = append(out, pass)
			}
		}
	}
	return out
}

// openSSH sets up how ssh is run: with the client's agent and the known hosts
// it gave, and with nothing of this machine's users.
func (a *access) openSSH(ctx context.Context, s *Source, env solver.Env, sp *spec) error {
	ssh := []string{"ssh", "-F", os.DevNull, "-o", "BatchMode=yes", "-o", "IdentityFile=none", "-o", "GlobalKnownHostsFile=" + os.DevNull}
	if sp.sshID != "" {
		var err error
		if a.agent, err = s.cfg.Sessions.ForwardAgent(ctx, env.Sessions(), sp.sshID, a.dir); err != nil {
			return err
		}
		a.env = append(a.env, "SSH_AUTH_SOCK="+a.agent.Path)
	} else {
		ssh = append(ssh, "-o", "IdentityAgent=none")
	}
	if sp.knownHosts != "" {
		path := filepath.Join(a.dir, "known_hosts")
		if err := os.WriteFile(path, []byte(sp.knownHosts), 0o600); err != nil {
			return fmt.Errorf("write known hosts: %w", err)
		}
		ssh = append(ssh, "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+path)
	} else {
		// Clients that know hosts say so; refusing others would break them all.
		ssh = append(ssh, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile="+os.DevNull)
	}
	for i, word := range ssh {
		// Git hands this to a shell.
		ssh[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	a.env = append(a.env, "GIT_SSH_VARIANT=ssh", "GIT_SSH_COMMAND="+strings.Join(ssh, " "))
	return nil
}
