if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    # 1 version remains: an upgrade. A gate that runs gets the new program. The socket holds its connections meanwhile.
    if [ "$1" -ge 1 ]; then
        systemctl try-restart keygate.service || :
    fi
fi
if [ "$1" -eq 0 ]; then
    # No package owns the folder. It stays where an administrator has files in it.
    rmdir /etc/keygate 2>/dev/null || :
fi
# The user stays: a later one with its number would own what this one left. So does /var/lib/keygate, with the store.
