# What the scripts in this folder have in common: assertions, and Debians in folders that commands run in or that are booted.
# Sourced by them.

. tests/debian-root.sh # sets `variables`

export LC_ALL=C.UTF-8

# end MESSAGE…
end() {
    printf '%s: %s\n' "$0" "$*" >&2
    exit 1
}

assertions=0
# is WHAT FOUND EXPECTED
is() {
    assertions=$((assertions + 1))
    [ "$2" = "$3" ] || end "$1: $(printf '\n  found    %s\n  expected %s' "$2" "$3")"
}

# has WHAT TEXT PART: the text contains the part.
has() {
    assertions=$((assertions + 1))
    case $2 in *"$3"*) ;; *) end "$1: $(printf 'no %q in\n%s' "$3" "$2")" ;; esac
}

# succeeds WHAT COMMAND…
succeeds() {
    local what=$1 output
    shift
    assertions=$((assertions + 1))
    output=$("$@" 2>&1) || end "$what: $(printf '%q ' "$@")failed: $output"
}

# fails WHAT COMMAND…
fails() {
    local what=$1 output
    shift
    assertions=$((assertions + 1))
    ! output=$("$@" 2>&1) || end "$what: $(printf '%q ' "$@")should have failed: $output"
}

# wait_until SECONDS WHAT COMMAND…
wait_until() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    assertions=$((assertions + 1))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$until" ] || end "$what: not in time: $(printf '%q ' "$@")"
        sleep 0.2
    done
}

# inside ROOT SCRIPT: runs it in there, with the network of this machine. What it mounts and starts is gone with it.
inside() {
    ROOT=$1 unshare --mount --pid --fork --kill-child bash -c '
        # rpm changes the mount that it runs on, so there must be one.
        mount --bind "$ROOT" "$ROOT"
        mount -t proc proc "$ROOT/proc"
        exec chroot "$ROOT" "$@"
    ' inside /usr/bin/env -i HOME=/root USER=root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${variables[@]}" bash -c "set -euo pipefail; $2" </dev/null
}

# The process of systemd-nspawn, and the first process of the machine that it booted.
nspawn=
machine=

# boot ROOT: boots it, with a network of its own that has loopback alone.
boot() {
    # Neither needs a service of this machine's systemd, which may have none. systemd wants the newer cgroups, also where this
    # machine has both.
    UNIFIED_CGROUP_HIERARCHY=1 systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --directory "$1" \
        >"$1.console" 2>&1 </dev/null &
    nspawn=$!
    wait_until 30 'the machine has a first process' first_process
    machine=$(first_process)
    wait_until 60 'the machine is up' is_up
}

first_process() {
    pgrep --parent "$nspawn" | head -n 1 | grep .
}

is_up() {
    case $(on_machine systemctl is-system-running) in running | degraded) ;; *) return 1 ;; esac
}

# on_machine COMMAND…: runs it on the booted machine.
on_machine() {
    nsenter --target "$machine" --all --root --wd env -i HOME=/root USER=root TERM=dumb LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive SYSTEMD_PAGER= PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
}

# shut_down: ends the machine.
shut_down() {
    [ -n "$nspawn" ] || return 0
    # SIGTERM has it powered off; what does not end is ended with its first process.
    kill "$nspawn" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$nspawn" 2>/dev/null || break
        sleep 0.2
    done
    kill -KILL "$nspawn" 2>/dev/null || true
    wait "$nspawn" 2>/dev/null || true
    nspawn=
}

# status METHOD-AND-URL…: the status of the answer to a request that curl makes on the machine.
status() {
    on_machine curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' "$@" || true
}
