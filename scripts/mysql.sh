#!/usr/bin/env bash
# Brings a private MySQL for the tests and the demonstration. Only Debian's
# unstable suite has it: its packages are unpacked into a cache folder, where
# they run by their own loader and C library, and nothing of the machine
# changes. Needs no root. The packages stay in the cache, because the suite
# moves; remove the folder to fetch anew.
set -euo pipefail
umask 022

# privateserver looks in the same two places. Servers that root starts run under
# another account, which does not see root's own cache.
if ((EUID == 0)); then
	cache=/var/cache/millrace/mysql
else
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/millrace/mysql
fi

say() { echo "mysql: $*" >&2; }

finish() { # with what is there
	say "$*; what needs MySQL is skipped, and fails with CI=true"
	exit 0
}

[[ -x $cache/mysqld ]] && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
	finish "packages of Debian cannot be unpacked here"

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
[[ -x $cache/mysqld ]] && exit 0

apt=$cache/apt
mkdir -p "$apt/lists/partial" "$apt/archives/partial"
: >"$apt/status" # nothing is installed: every package that it needs is fetched

# A mirror that stands still serves lists past their date; they are signed all
# the same.
fetch() {
	apt-get -qq \
		-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status" \
		-o Dir::Cache="$apt" -o Dir::Cache::Archives="$apt/archives" \
		-o APT::Sandbox::User=root -o APT::Get::List-Cleanup=false -o Debug::NoLocking=true \
		-o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::Retries=5 "$@"
}

# The mirrors are those that this machine already uses.
mirrors() {
	# shellcheck disable=SC2016 # apt fills it in
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sed /security/d | sort -u
}

list() {
	local mirror
	for mirror in $(mirrors); do
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$apt/sources.list"
		fetch update >&2 && return
	done
	return 1
}

retried() {
	local wait
	for wait in 2 5 15; do
		"$@" && return
		say "again in $wait s"
		sleep "$wait"
	done
	"$@"
}

# The cache is of use without the network too.
if ! compgen -G "$apt/archives/mysql-server-core*.deb" >/dev/null || ! compgen -G "$apt/complete" >/dev/null; then
	say "fetching Debian's packages of it, about 60 MB, into $cache"
	retried list || finish "none of apt's sources has Debian's unstable suite"
	retried fetch install -y --no-install-recommends --download-only mysql-server-core >/dev/null ||
		finish "its packages cannot be fetched"
	touch "$apt/complete"
fi

root=$cache/root
rm -rf "$root" "$root.new"
mkdir "$root.new"
for deb in "$apt"/archives/*.deb; do
	dpkg-deb -x "$deb" "$root.new"
done
rm -rf "$root.new"/usr/share/{doc,man,locale}
mv "$root.new" "$root"

cat >"$cache/mysqld.new" <<'WRAPPER'
#!/bin/sh
root=$(dirname "$0")/root/usr
for loader in "$root"/lib64/ld-linux-*.so.* "$root"/lib/ld-linux-*.so.*; do
	[ -x "$loader" ] && break
done
for library in "$root"/lib/*-linux-gnu; do
	[ -d "$library" ] && break
done
exec "$loader" --library-path "$library:$root/lib/mysql/private" "$root/sbin/mysqld" --no-defaults \
	--basedir="$root" --lc-messages-dir="$root/share/mysql" --character-sets-dir="$root/share/mysql/charsets" \
	--plugin-dir="$root/lib/mysql/plugin" "$@"
WRAPPER
chmod 755 "$cache/mysqld.new"
"$cache/mysqld.new" --version >&2 || finish "it does not run on this machine"
mv "$cache/mysqld.new" "$cache/mysqld" # last: it says that all is there
