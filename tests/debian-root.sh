# Makes a Debian in a folder, with this machine's ways to its package registries. Sourced by scripts that test on one, which
# are root's.

# How this machine's package clients reach their registries: proxies, certificate authorities, mirrors. No credentials.
variables=()
while IFS= read -r name; do
    case $name in
    *TOKEN* | *PASSWORD* | *SECRET*) ;;
    *_proxy | *_PROXY | *_CA_BUNDLE | SSL_CERT_* | GIT_SSL_* | NODE_EXTRA_CA_CERTS | PIP_* | [Nn][Pp][Mm]_[Cc][Oo][Nn][Ff][Ii][Gg]_* | \
        CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTRIES_* | CARGO_SOURCE_*) variables+=("$name=${!name}") ;;
    esac
done < <(compgen -e)

# copy_settings ROOT: the same, from files.
copy_settings() {
    local root=$1 file variable
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    apt-config dump Acquire | grep -E '^Acquire::(https?|Check-)' >"$root/etc/apt/apt.conf.d/90this-machine" || true
    for file in /usr/local/share/ca-certificates/*.crt; do
        [ ! -f "$file" ] || cp "$file" "$root/usr/local/share/ca-certificates/"
    done
    chroot "$root" update-ca-certificates >/dev/null 2>&1
    for variable in "${variables[@]}"; do
        file=${variable#*=}
        if [[ $file == /* && -f $file && ! -e $root$file ]]; then install -D "$file" "$root$file"; fi
    done
    for file in "${CARGO_HOME:-$HOME/.cargo}"/config{.toml,}; do
        [ ! -f "$file" ] || install -D "$file" "$root/root/.cargo/${file##*/}"
    done
    for file in /etc/pip.conf "$HOME"/.pip/pip.conf "$HOME"/.config/pip/pip.conf; do
        [ ! -f "$file" ] || install -D "$file" "$root/${file/#$HOME/root}"
    done
    for file in /etc/npmrc "$(npm config get globalconfig 2>/dev/null || true)" "$HOME/.npmrc"; do
        [ ! -f "$file" ] || cat "$file" >>"$root/root/.npmrc"
    done
}

# make_debian RELEASE ROOT PACKAGES: with these packages (separated by commas) beside the fewest that there can be, and CA
# certificates.
make_debian() {
    local release=$1 root=$2 packages=$3 mirror
    # The one that this machine's packages come from, where it is a Debian; else debootstrap knows one.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1)
    # What it mounts is gone with it.
    unshare --mount debootstrap --variant=minbase --include="ca-certificates,$packages" "$release" "$root" ${mirror:+"$mirror"} &&
        copy_settings "$root"
}
