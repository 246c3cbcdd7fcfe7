#!/usr/bin/env bash
# Installs what the build and the tests need and this machine lacks. Says what
# and why before it installs; says nothing if nothing is missing.
set -euo pipefail

want_go=1.26

die() {
	echo "deps: $*" >&2
	exit 1
}

check_go() {
	command -v go >/dev/null || die "Go is missing: install Go $want_go or newer from https://go.dev/dl"
	local have major minor
	have=$(go env GOVERSION)
	IFS=. read -r major minor _ <<<"${have#go}"
	minor=${minor%%[!0-9]*}
	if ((major < ${want_go%.*} || (major == ${want_go%.*} && minor < ${want_go#*.}))); then
		die "$have is too old: install Go $want_go or newer from https://go.dev/dl"
	fi
}

# have NAME FOLDER...: a program of that name is in PATH or in one of the folders.
have() {
	local name=$1 file
	shift
	command -v "$name" >/dev/null && return
	for file in "${@/%//$name}"; do
		[[ -x $file ]] && return
	done
	return 1
}

missing=()
reasons=()
need() { # PACKAGE REASON
	missing+=("$1")
	reasons+=("  $1: $2")
}

find_missing() { # compiler, postgres, mariadb: the names of the packages
	have g++ || have clang++ ||
		need "$1" "DuckDB is linked into the program, and its library is C++"
	have initdb /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin ||
		need "$2" "tests and the demonstration start private servers of it"
	have mariadb-install-db /opt/homebrew/opt/mariadb*/bin /usr/local/opt/mariadb*/bin &&
		have mariadbd /usr/sbin /usr/local/sbin /opt/homebrew/opt/mariadb*/bin /usr/local/opt/mariadb*/bin ||
		need "$3" "tests and the demonstration start private servers of it"
	python3 -c 'import venv, ensurepip' 2>/dev/null ||
		need "$4" "a folder of the tests' own holds a second server for MongoDB, from PyPI"
}

announce() {
	echo "deps: installing with $1:"
	printf '%s\n' "${reasons[@]}"
}

sudo=()
policy=/usr/sbin/policy-rc.d
kept=$policy.millrace-kept
mark="# millrace: servers are not started while they are installed"

restore_policy() {
	"${sudo[@]}" rm -f "$policy"
	if [[ -e $kept || -L $kept ]]; then
		"${sudo[@]}" mv "$kept" "$policy"
	fi
}

# Debian starts a server as it installs it. Nobody asked for one that runs
# beside the private ones: the policy forbids it while we install. A policy of
# ours that is there was left by a run that was killed.
forbid_starts() {
	trap restore_policy EXIT
	if [[ -e $policy || -L $policy ]] && ! grep -qsF "$mark" "$policy"; then
		"${sudo[@]}" mv "$policy" "$kept"
	fi
	printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | "${sudo[@]}" tee "$policy" >/dev/null
	"${sudo[@]}" chmod 755 "$policy"
}

install_debian() {
	announce "apt-get; the servers are not started"
	if ((EUID != 0)); then
		command -v sudo >/dev/null || die "not root and no sudo: run as root: apt-get install ${missing[*]}"
		sudo=(sudo)
	fi
	forbid_starts
	"${sudo[@]}" apt-get update -q
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# SecantusDB speaks MongoDB's protocol. Tests run it as a process of its own, as
# a second opinion; nothing that ships touches it.
secantus_version=0.7.0b3
install_secantus() {
	local folder
	folder=$(cd "$(dirname "$0")/.." && pwd)/.cache/secantusdb
	[[ -f $folder/$secantus_version ]] && return
	rm -rf "$folder"
	echo "deps: installing SecantusDB $secantus_version with pip into .cache: tests run it as a server for MongoDB"
	if python3 -m venv "$folder" && "$folder/bin/pip" install -q --disable-pip-version-check "SecantusDB==$secantus_version"; then
		touch "$folder/$secantus_version"
	else
		echo "deps: SecantusDB could not be installed: the tests that need it are skipped, and fail in CI" >&2
	fi
}

main() {
	check_go
	case $(uname -s) in
	Darwin)
		find_missing llvm postgresql@17 mariadb python3
		if ((${#missing[@]})); then
			command -v brew >/dev/null || die "Homebrew is missing (https://brew.sh); needed: ${missing[*]}"
			announce "Homebrew"
			brew install "${missing[@]}"
		fi
		;;
	*)
		find_missing g++ postgresql mariadb-server python3-venv
		if ((${#missing[@]})); then
			command -v apt-get >/dev/null ||
				die "neither Debian nor Ubuntu: install the equivalents of these packages: ${missing[*]}"
			install_debian
		fi
		;;
	esac
	install_secantus
	[[ $(uname -s) == Darwin ]] || "$(dirname "$0")/mysql.sh"
	go mod download
}

main
