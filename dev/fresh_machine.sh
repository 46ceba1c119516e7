#!/bin/sh
# Tries the README's two commands, make demo and make app, on a bare Debian, as root and as a user:
#
#     sudo dev/fresh_machine.sh FOLDER
#
# FOLDER gets the Debian, made by debootstrap; remove it afterwards. What the Dockerfile installs is
# installed there, nothing else. The machine's own files are not seen, its network is used. Prints
# seconds and megabytes.
#
# DETECTRON2      a local checkout of Detectron2, if its repository cannot be reached
# EXTRA_PACKAGES  more of Debian's packages, such as "g++ python3-dev" for COMPILED=1
# MAKE_ARGS       more arguments for make, such as COMPILED=1
# MIRROR          of Debian (default: http://deb.debian.org/debian)
# SOURCE          checkout to try (default: the one that this script belongs to)
# USERS           who tries it (default: "root user")
set -eu

PACKAGES="ca-certificates git make python3 python3-venv"
PORT=7861

fail() {
    echo "fresh_machine.sh: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: dev/fresh_machine.sh FOLDER"
[ "$(id -u)" -eq 0 ] || fail "needs root, for debootstrap and chroot"
command -v debootstrap >/dev/null || fail "debootstrap is missing (a package of that name)"
[ ! -e "$1" ] || [ -z "$(ls -A "$1")" ] || [ -e "$1/.fresh_machine" ] ||
    fail "$1 exists already and is not a Debian of this script"
mkdir -p "$1"
machine=$(cd "$1" && pwd)
source=$(cd "${SOURCE:-$(dirname "$0")/..}" && pwd)

# Runs a shell command inside, as a user, with that user's environment and no other.
inside() {
    account=$1
    shift
    # Mounts and processes end with the command.
    unshare --mount --pid --fork --kill-child sh -c '
        mount -t proc proc "$0/proc"
        mount -t tmpfs tmpfs "$0/dev/shm"
        exec chroot --userspec="$1" "$0" /usr/bin/env -i PATH="$PATH" LANG=C.UTF-8 \
            HOME="$2" DETECTRON2="$3" sh -c "cd && $4"
    ' "$machine" "$account" "$([ "$account" = root ] && echo /root || echo "/home/$account")" \
        "${DETECTRON2:+/opt/detectron2}" "$*"
}

# Prints what a command takes: seconds, and megabytes that the machine grew by.
report() {
    name=$1
    shift
    began=$(date +%s.%N)
    before=$(du -sxm "$machine" | cut -f 1)
    "$@" >"$machine/log" 2>&1 || { tail -n 20 "$machine/log" >&2; fail "$name failed"; }
    after=$(du -sxm "$machine" | cut -f 1)
    awk "BEGIN { printf \"%-28s %6.1f s %6d MB\n\", \"$name\", $(date +%s.%N) - $began, $after - $before }"
}

if [ ! -e "$machine/.fresh_machine" ]; then
    report "bare Debian" debootstrap --variant=minbase \
        --include="$(echo $PACKAGES ${EXTRA_PACKAGES:-} | tr ' ' ,)" \
        bookworm "$machine" "${MIRROR:-http://deb.debian.org/debian}"
    inside root "useradd --create-home user"
    cp -L /etc/resolv.conf "$machine/etc/resolv.conf"
    # A network with certificates of its own has them here, too.
    cp -L /etc/ssl/certs/ca-certificates.crt "$machine/etc/ssl/certs/ca-certificates.crt"
    touch "$machine/.fresh_machine"
fi
if [ -n "${DETECTRON2:-}" ]; then
    rm -rf "$machine/opt/detectron2"
    cp -r "$DETECTRON2" "$machine/opt/detectron2"
    inside root "git config --system safe.directory '*'"
fi

# Opens the page of make app and ends it.
try_app() {
    inside "$1" "cd tood_d2 && (make app ${MAKE_ARGS:-} APP_ARGS='--port $PORT' & ) &&
        for i in \$(seq 120); do
            sleep 1
            .venv/bin/python -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:$PORT\")' \
                2>/dev/null && exit 0
        done; exit 1"
}

for user in ${USERS:-root user}; do
    home=$([ "$user" = root ] && echo "$machine/root" || echo "$machine/home/$user")
    rm -rf "$home/tood_d2" "$home/.cache"
    mkdir "$home/tood_d2"
    (cd "$source" && git ls-files -z | tar --null --files-from=- --create) |
        tar --extract --no-same-owner --directory="$home/tood_d2"
    inside root "chown -R $user ~$user"
    report "$user: make setup" inside "$user" "cd tood_d2 && make setup ${MAKE_ARGS:-}"
    report "$user: make setup, again" inside "$user" "cd tood_d2 && make setup ${MAKE_ARGS:-}"
    report "$user: make demo" inside "$user" "cd tood_d2 && make demo ${MAKE_ARGS:-}"
    grep "output/demo" "$machine/log" | tail -n 2
    ls "$home"/tood_d2/output/demo/pictures/*.png >/dev/null || fail "there are no pictures"
    report "$user: make app" try_app "$user"
    echo "$user: $(du -sm "$home/tood_d2/.venv" | cut -f 1) MB in .venv," \
        "$(du -sm "$home/.cache" | cut -f 1) MB in pip's cache"
    rm -rf "$home/tood_d2" "$home/.cache"
done
