package build

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"

	"github.com/kilnbuild/kiln/dockerapi/route"
)

// Bounds of what a request may say.
const (
	maxTags   = 1000
	maxValues = 10_000
)

// hostGateway stands for the address of this machine in extrahosts.
const hostGateway = "host-gateway"

// Values of the parameter remote that are no URL.
const (
	remoteSession = "client-session"
	remoteUpload  = "upload-request"
)

// ulimit is an element of the parameter ulimits.
type ulimit struct {
	Name       string
	Soft, Hard int64
}

// output is an element of the parameter outputs.
type output struct {
	Type  string
	Attrs map[string]string
}

// parameters are those of a request for a build.
type parameters struct {
	version             int
	dockerfile, remote  string
	tags                []string
	quiet, noCache      bool
	pull, remove, force bool
	squash              bool
	// options of the frontend that the query says.
	opts map[string]string
	// buildArgs has those with a value; args names all.
	args        []string
	labels      map[string]string
	inlineCache bool
	hostNetwork bool
	outputs     []output
	session, id string
	gateway     string
	// upload says that the request brings the context of the build with id.
	upload bool
}

// readParameters reads and checks the query of a request for a build. gateway is
// what "host-gateway" stands for; may be empty.
func readParameters(r *http.Request, gateway string) (*parameters, error) {
	p := &parameters{
		gateway: gateway,
		version: 1, dockerfile: r.FormValue("dockerfile"), remote: r.FormValue("remote"),
		quiet: route.Bool(r, "q"), noCache: route.Bool(r, "nocache"), pull: route.Bool(r, "pull"),
		remove: route.BoolOr(r, "rm", true), force: route.Bool(r, "forcerm"),
		squash: route.Bool(r, "squash"),
		opts:   map[string]string{}, session: r.FormValue("session"), id: r.FormValue("buildid"),
	}
	p.id, p.upload = cutUpload(p.id)
	switch v := r.FormValue("version"); v {
	case "", "1":
	case "2":
		p.version = 2
	default:
		return nil, fmt.Errorf("invalid version %q: 1 is the classic builder, 2 is BuildKit: %w", v, errdefs.ErrInvalidArgument)
	}
	for _, read := range []func(*http.Request) error{
		p.refuse, p.checkRemote, p.readTags, p.readArgs, p.readLabels, p.readLimits, p.readUlimits, p.readNetwork, p.readHosts, p.readRest,
	} {
		if err := read(r); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// cutUpload takes the mark of a request that brings a context off a build id.
func cutUpload(id string) (string, bool) { return strings.CutPrefix(id, remoteUpload+":") }

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

// refuse refuses what this builder does not do.
func (p *parameters) refuse(r *http.Request) error {
	if len(r.Form["securityopt"]) > 0 {
		return invalid("The daemon on this platform does not support setting security options on build")
	}
	switch v := r.FormValue("isolation"); v {
	case "", "default":
	default:
		return invalid("Unsupported isolation: %q; steps run in containers", v)
	}
	return nil
}

// remotes are what the addresses of contexts begin with.
var remotes = []string{"http://", "https://", "git://", "ssh://", "git@", "github.com/"}

// checkRemote refuses contexts that are nowhere.
func (p *parameters) checkRemote(*http.Request) error {
	if p.remote == "" || p.version == 2 && (p.remote == remoteSession || p.remote == remoteUpload) {
		return nil
	}
	for _, prefix := range remotes {
		if strings.HasPrefix(p.remote, prefix) {
			return nil
		}
	}
	return invalid("remoteURL (%.200s) could not be recognized as URL", p.remote)
}

// readTags reads names for the image, in full.
func (p *parameters) readTags(r *http.Request) error {
	seen := map[string]bool{}
	for _, text := range r.Form["t"] {
		if text == "" {
			continue
		}
		name, err := reference.ParseNormalizedNamed(text)
		if err != nil {
			return invalid("invalid tag %q: %w", text, err)
		}
		if _, ok := name.(reference.Digested); ok {
			return invalid("invalid tag %q: refusing to create a tag with a digest reference", text)
		}
		full := reference.TagNameOnly(name).String()
		if !seen[full] {
			seen[full] = true
			p.tags = append(p.tags, full)
		}
	}
	if len(p.tags) > maxTags {
		return invalid("more than %d tags", maxTags)
	}
	return nil
}

// readArgs reads build arguments. One without a value is declared and nothing
// else.
func (p *parameters) readArgs(r *http.Request) error {
	args := map[string]*string{}
	if err := route.JSON(r, "buildargs", &args); err != nil {
		return err
	}
	if len(args) > maxValues {
		return invalid("more than %d buildargs", maxValues)
	}
	for name, value := range args {
		p.args = append(p.args, name)
		if value != nil {
			p.opts["build-arg:"+name] = *value
		}
	}
	if value := args["BUILDKIT_INLINE_CACHE"]; value != nil {
		p.inlineCache, _ = strconv.ParseBool(*value)
	}
	return nil
}

func (p *parameters) readLabels(r *http.Request) error {
	if err := route.JSON(r, "labels", &p.labels); err != nil {
		return err
	}
	if len(p.labels) > maxValues {
		return invalid("more than %d labels", maxValues)
	}
	for name, value := range p.labels {
		p.opts["label:"+name] = value
	}
	return nil
}

// readLimits reads what steps may use. Zero and nothing mean no limit.
func (p *parameters) readLimits(r *http.Request) error {
	for name, opt := range map[string]string{
		"memory": "memory", "memswap": "memswap", "cpushares": "cpushares", "cpuperiod": "cpuperiod",
		"cpuquota": "cpuquota", "shmsize": "shm-size",
	} {
		n, err := route.Int(r, name)
		if err != nil {
			return err
		}
		// Without a limit of memory, swap has none either.
		if n == 0 || n == -1 && name != "memswap" {
			continue
		}
		if n < -1 {
			return invalid("invalid %s %d: want a positive number", name, n)
		}
		p.opts[opt] = strconv.FormatInt(n, 10)
	}
	for name, opt := range map[string]string{"cpusetcpus": "cpusetcpus", "cpusetmems": "cpusetmems", "cgroupparent": "cgroup-parent"} {
		if v := r.FormValue(name); v != "" {
			p.opts[opt] = v
		}
	}
	return nil
}

func (p *parameters) readUlimits(r *http.Request) error {
	var list []ulimit
	if err := route.JSON(r, "ulimits", &list); err != nil {
		return err
	}
	if len(list) > maxTags {
		return invalid("more than %d ulimits", maxTags)
	}
	var fields []string
	for _, l := range list {
		if l.Name == "" || strings.ContainsAny(l.Name, ",=\"") {
			return invalid("invalid ulimit %q", l.Name)
		}
		if l.Hard >= 0 && l.Soft > l.Hard {
			return invalid("ulimit soft limit must be less than or equal to hard limit: %d > %d", l.Soft, l.Hard)
		}
		fields = append(fields, fmt.Sprintf("%s=%d:%d", l.Name, l.Soft, l.Hard))
	}
	if len(fields) > 0 {
		p.opts["ulimit"] = strings.Join(fields, ",")
	}
	return nil
}

func (p *parameters) readNetwork(r *http.Request) error {
	switch mode := r.FormValue("networkmode"); mode {
	case "", "default", "bridge":
	case "none":
		p.opts["force-network-mode"] = mode
	case "host":
		p.opts["force-network-mode"] = mode
		p.hostNetwork = true
	default:
		return invalid("network mode %q is not supported by this builder: it has no containers and no networks of its own; "+
			"use default, none or host", mode)
	}
	return nil
}

// readHosts reads name:address pairs.
func (p *parameters) readHosts(r *http.Request) error {
	var fields []string
	for _, list := range r.Form["extrahosts"] {
		for text := range strings.SplitSeq(list, ",") {
			name, address, ok := strings.Cut(text, ":")
			if !ok {
				name, address, ok = strings.Cut(text, "=")
			}
			if address = strings.Trim(address, "[]"); !ok || name == "" || strings.ContainsAny(name, "\"\n=") {
				return invalid("bad format for add-host: %q", text)
			}
			if address == hostGateway {
				if address = p.gateway; address == "" {
					return invalid("unable to derive the IP value for %s: the network configuration of steps is the user's own", hostGateway)
				}
			}
			if _, err := netip.ParseAddr(address); err != nil || net.ParseIP(address) == nil {
				return invalid("invalid IP address in add-host: %q", address)
			}
			fields = append(fields, name+"="+address)
		}
	}
	if len(fields) > maxValues {
		return invalid("more than %d extrahosts", maxValues)
	}
	if len(fields) > 0 {
		p.opts["add-hosts"] = strings.Join(fields, ",")
	}
	return nil
}

// readRest reads what is left.
func (p *parameters) readRest(r *http.Request) error {
	var from []string
	if err := route.JSON(r, "cachefrom", &from); err != nil {
		return err
	}
	if len(from) > maxTags {
		return invalid("more than %d entries of cachefrom", maxTags)
	}
	set := func(opt, value string) {
		if value != "" {
			p.opts[opt] = value
		}
	}
	set("cache-from", strings.Join(from, ","))
	set("target", r.FormValue("target"))
	set("filename", p.dockerfile)
	if !route.VersionOf(r).Before(32) {
		if err := checkPlatforms(r.FormValue("platform")); err != nil {
			return err
		}
		set("platform", r.FormValue("platform"))
	}
	if p.noCache {
		p.opts["no-cache"] = ""
	}
	p.opts["image-resolve-mode"] = "default"
	if p.pull {
		p.opts["image-resolve-mode"] = "pull"
	}
	if p.version != 2 || route.VersionOf(r).Before(40) {
		return nil
	}
	if err := route.JSON(r, "outputs", &p.outputs); err != nil {
		return err
	}
	if len(p.outputs) > 1 {
		return invalid("multiple outputs not supported")
	}
	return nil
}

// checkPlatforms refuses a list of platforms that cannot be.
func checkPlatforms(list string) error {
	if list == "" {
		return nil
	}
	for text := range strings.SplitSeq(list, ",") {
		if _, err := platforms.Parse(text); err != nil {
			return invalid("invalid platform %.200q: %w", text, err)
		}
	}
	return nil
}
