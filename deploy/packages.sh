# Installs the Debian packages that a script of this project needs. Sourced by such scripts, `deploy/try` and `tests/run` first.

missing_packages=()

# need PACKAGES COMMAND…: notes the packages (separated by spaces) unless the command succeeds.
need() {
    local packages
    read -ra packages <<<"$1"
    shift
    "$@" >/dev/null 2>&1 || missing_packages+=("${packages[@]}")
}

# need_to_build: notes what building Keygate takes beside a Rust toolchain.
need_to_build() {
    # `gcc` only recommends the headers and start files of the C library.
    need 'gcc libc6-dev' links cc
    need cmake command -v cmake # builds zlib-ng, which pingora links
    need make command -v make   # what CMake writes its build files for
}

# links COMPILER: builds a small program, and so fails as well where the C library's headers or start files are missing.
links() {
    local program status=0
    program=$(mktemp)
    printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' | "$1" -x c -o "$program" - || status=$?
    rm -f "$program"
    return "$status"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# install_missing: installs all that was noted in one call. Where it cannot, names the packages and ends the script.
install_missing() {
    [ "${#missing_packages[@]}" -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; }; then
        printf '%s: install these Debian packages first: %s\n' "$0" "${missing_packages[*]}" >&2
        exit 1
    fi
    printf 'Installing Debian packages: %s\n' "${missing_packages[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing_packages[@]}" >/dev/null
    missing_packages=()
}
