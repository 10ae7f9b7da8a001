# Files of the package belong to this user and group, and sysusers.d is unpacked after this script. So the line stands here too.
systemd-sysusers --replace=/usr/lib/sysusers.d/keygate.conf - <<'SYSUSERS'
u keygate - "Keygate" /var/lib/keygate /usr/sbin/nologin
SYSUSERS
