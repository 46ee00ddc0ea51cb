#!/bin/sh
# Makes a certificate authority, and certificates of it for the daemons and for clients, and prints them as two secrets:
#
#   packaging/kubernetes/make-certs.sh kiln '*.kiln' | kubectl apply -f -
#
# The arguments are the names that clients reach the daemons by. The keys are in no file when it ends.
set -eu
[ $# -gt 0 ] || { echo "usage: make-certs.sh NAME..." >&2; exit 2; }
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
names=localhost
for name; do names="$names,DNS:$name"; done

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=kiln" \
	-keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null

# issue NAME USAGE makes a certificate.
issue() {
	printf 'subjectAltName=DNS:%s\nextendedKeyUsage=%s\n' "$names" "$2" >"$dir/ext"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=kiln-$1" -keyout "$dir/$1.key" -out "$dir/$1.csr" 2>/dev/null
	openssl x509 -req -in "$dir/$1.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 825 \
		-extfile "$dir/ext" -out "$dir/$1.crt" 2>/dev/null
}

# secret NAME prints a secret with a certificate.
secret() {
	printf -- '---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata:\n  name: kiln-%s-certs\ndata:\n' "$1"
	printf '  ca.crt: %s\n  tls.crt: %s\n  tls.key: %s\n' \
		"$(base64 -w0 "$dir/ca.crt")" "$(base64 -w0 "$dir/$1.crt")" "$(base64 -w0 "$dir/$1.key")"
}

issue daemon serverAuth
issue client clientAuth
secret daemon
secret client
