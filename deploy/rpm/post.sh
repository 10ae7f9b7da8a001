systemd-tmpfiles --create keygate.conf || :
# $1 is the number of installed versions. A first installation follows the distribution's presets, which on Fedora and RHEL leave
# a service off until an administrator enables it.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
if [ "$1" -eq 1 ]; then
    systemctl --no-reload preset keygate.service || :
fi
