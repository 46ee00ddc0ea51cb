#!/bin/sh
# Installs kiln from its tarball, or removes what it installed.
#
#   ./install.sh [--prefix DIR] [--uninstall]     DIR is /usr/local unless said
#
# DESTDIR is put before every path, and nothing is started then. A configuration that is there is kept.
set -eu

prefix=/usr/local uninstall=
while [ $# -gt 0 ]; do
	case $1 in
	--prefix) prefix=$2 && shift ;;
	--uninstall) uninstall=yes ;;
	*) echo "install.sh: unknown option $1" >&2 && exit 2 ;;
	esac
	shift
done
dest=${DESTDIR:-}
list=$dest$prefix/share/kiln/installed
here=$(cd "$(dirname "$0")" && pwd)

# systemd says whether the running manager is to be told.
systemd() { [ -z "$dest" ] && [ -d /run/systemd/system ]; }

if [ -n "$uninstall" ]; then
	[ -f "$list" ] || { echo "install.sh: nothing is installed in $prefix" >&2 && exit 1; }
	if systemd; then
		systemctl disable --now kiln.socket kiln-docker.socket || true
		systemctl stop kiln.service || true
	fi
	while read -r path; do rm -f "$dest$path"; done <"$list"
	rm -f "$list"
	rmdir "$dest$prefix/share/kiln" 2>/dev/null || true
	if systemd; then systemctl daemon-reload; fi
	echo "kiln is removed; /etc/kiln and /var/lib/kiln are kept"
	exit 0
fi

[ -n "$dest" ] || [ "$(id -u)" = 0 ] || { echo "install.sh: run as root, or set DESTDIR" >&2 && exit 1; }

# put MODE FILE FOLDER installs one file and remembers it.
put() {
	mkdir -p "$dest$3"
	install -m "$1" "$2" "$dest$3/"
	echo "$3/${2##*/}" >>"$list"
}

mkdir -p "${list%/*}"
: >"$list"
for file in "$here"/bin/*; do put 0755 "$file" "$prefix/bin"; done
for section in man1 man8; do
	for file in "$here/$section"/*; do put 0644 "$file" "$prefix/share/man/$section"; done
done
for file in "$here"/bash/*; do put 0644 "$file" "$prefix/share/bash-completion/completions"; done
for file in "$here"/zsh/*; do put 0644 "$file" "$prefix/share/zsh/site-functions"; done
for file in "$here"/fish/*; do put 0644 "$file" "$prefix/share/fish/vendor_completions.d"; done
for kind in system user; do
	for file in "$here/$kind"/*; do
		put 0644 "$file" "/etc/systemd/$kind"
		sed -i "s#/usr/bin/kilnd#$prefix/bin/kilnd#g" "$dest/etc/systemd/$kind/${file##*/}"
	done
done
mkdir -p "$dest/etc/kiln"
[ -e "$dest/etc/kiln/kilnd.toml" ] || install -m 0644 "$here/kilnd.toml" "$dest/etc/kiln/kilnd.toml"

if [ -z "$dest" ]; then
	getent group kiln >/dev/null || groupadd --system kiln
fi
if systemd; then
	systemctl daemon-reload
	systemctl enable --now kiln.socket kiln-docker.socket
	systemctl --no-block try-restart kiln.service
fi
echo "kiln is installed in $prefix; members of the group kiln may use it"
