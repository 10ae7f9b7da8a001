# 0 versions remain: a removal, not an upgrade.
if [ "$1" -eq 0 ]; then
    systemctl --no-reload disable keygate.service keygate.socket || :
    if [ -d /run/systemd/system ]; then
        systemctl stop keygate.socket keygate.service || :
    fi
fi
