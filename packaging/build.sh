#!/usr/bin/env bash
# Makes the packages; see README.md.
#
#   packaging/build.sh [--kinds "deb rpm tar"] [--out DIR]
#
# VERSION, ARCH (as Go names it) and KILN_BIN (a folder with kiln and kilnd that are built already) come from the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

kinds='deb rpm tar'
out=$PWD/dist
nfpm_version=v2.45.0
nfpm_dir=${XDG_CACHE_HOME:-$HOME/.cache}/kiln/nfpm-$nfpm_version
while [ $# -gt 0 ]; do
	case $1 in
	--kinds) kinds=$2 ;;
	--out) out=$2 ;;
	*) echo "packaging: unknown option $1" >&2 && exit 2 ;;
	esac
	shift 2
done

# The version: a tag, what came after it, or a date where there is no tag. A tilde sorts before the release.
version() {
	local described
	if described=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
		sed -E 's/^v//; s/-rc/~rc/; s/-([0-9]+)-g/+\1.g/' <<<"$described"
	else
		git log -1 --format='0.0.0~git%cd.%h' --date=format:%Y%m%d%H%M 2>/dev/null || echo 0.0.0~unknown
	fi
}

VERSION=${VERSION:-$(version)}
REVISION=${REVISION:-$(git rev-parse HEAD 2>/dev/null || true)}
ARCH=${ARCH:-$(go env GOARCH)}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
MTIME=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
mkdir -p "$out" "$STAGE/bin" "$STAGE/man1" "$STAGE/man8"

if [ -n "${KILN_BIN:-}" ]; then
	cp "$KILN_BIN/kiln" "$KILN_BIN/kilnd" "$STAGE/bin/"
else
	# Tildes sort in packages; in a version that clients parse they do not exist.
	CGO_ENABLED=0 GOARCH=$ARCH go build -trimpath -ldflags "-s -w -X main.version=v${VERSION//\~/-} -X main.revision=$REVISION" -o "$STAGE/bin/" ./cmd/kiln ./cmd/kilnd
fi

# The programs write their own manual; where they are for another machine, ones for this machine do.
manual=$STAGE/bin
if [ "$ARCH" != "$(go env GOHOSTARCH)" ]; then
	manual=$STAGE/native
	go build -o "$manual/" ./cmd/kiln ./cmd/kilnd
fi
for program in kiln kilnd; do
	env -i PATH="$PATH" HOME=/root "$manual/$program" --write-manual "$STAGE"
done
for page in "$STAGE"/man/*; do
	gzip -9n <"$page" >"$STAGE/man${page##*.}/${page##*/}.gz"
done
cp -r systemd/units/system systemd/units/user "$STAGE/"

# Names, versions and licences of the modules in the programs.
third_party() {
	local name version dir file
	go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/kiln ./cmd/kilnd |
		sort -u | while read -r name version dir; do
		printf '\n==== %s %s\n\n' "$name" "$version"
		for file in "$dir"/LICEN[CS]E* "$dir"/NOTICE* "$dir"/COPYING*; do
			[ ! -f "$file" ] || cat "$file"
		done
	done
}
third_party | gzip -9n >"$STAGE/third-party.gz"

{
	printf 'kiln (%s-1) unstable; urgency=medium\n\n' "$VERSION"
	printf '  * Changes are told in the folder changelog of the source.\n\n'
	printf ' -- The kiln authors <kiln@kilnbuild.invalid>  %s\n' "$(LC_ALL=C date -u -R -d "@$epoch")"
} | gzip -9n >"$STAGE/changelog.Debian.gz"

# tarball: everything under the name of the release, with its own installer.
tarball() {
	local name=kiln-$VERSION-linux-$ARCH
	mkdir -p "$STAGE/$name"
	cp -r "$STAGE"/{bin,system,user,man1,man8,bash,zsh,fish} LICENSE packaging/kilnd.toml packaging/sysusers.conf "$STAGE/$name/"
	gunzip -c "$STAGE/third-party.gz" >"$STAGE/$name/THIRD-PARTY"
	install -m 0755 packaging/install.sh "$STAGE/$name/install.sh"
	tar -C "$STAGE" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -c "$name" | gzip -9n >"$out/$name.tar.gz"
	echo "$out/$name.tar.gz"
}

# nfpm makes debs and rpms; it is built once.
nfpm() {
	if [ ! -x "$nfpm_dir/nfpm" ]; then
		echo "packaging: building nfpm $nfpm_version (once; about a minute of CPU)" >&2
		(cd / && GOBIN=$nfpm_dir GOFLAGS='' go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$nfpm_version")
	fi
	"$nfpm_dir/nfpm" "$@"
}

for kind in $kinds; do
	case $kind in
	tar) tarball ;;
	*)
		# nfpm itself knows variables in some places only.
		sed "s#\${STAGE}#$STAGE#g; s#\${VERSION}#$VERSION#g; s#\${ARCH}#$ARCH#g; s#\${MTIME}#$MTIME#g" packaging/nfpm.yaml >"$STAGE/nfpm.yaml"
		nfpm package --config "$STAGE/nfpm.yaml" --packager "$kind" --target "$out/"
		;;
	esac
done
