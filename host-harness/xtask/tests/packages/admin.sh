#!/bin/bash
# What an administrator of a clean Debian does with the package, until it is purged. Each command must
# succeed; the last line says that all did. Nothing that is secret is printed.
set -euo pipefail
trap 'echo "line $LINENO failed: $BASH_COMMAND"; journalctl --no-pager --unit host-harness | tail -20' ERR

package=$(echo /packages/host-harness_*.deb)
unit=host-harness.service
state=/var/lib/host-harness
export HOST_HARNESS_STORE=/var/lib/host-harness/chat.sqlite
export DEBIAN_FRONTEND=noninteractive

fails() { if "$@" >/dev/null 2>&1; then echo "succeeds: $*"; return 1; fi; }
field() { grep --only-matching "\"$1\":\"[^\"]*\"" | cut --delimiter '"' --fields 4; }
status() { curl --silent --output /dev/null --write-out '%{http_code}' "$@"; }

# Within a minute.
becomes_active() {
    for _ in $(seq 60); do
        systemctl is-active --quiet $unit && return
        sleep 1
    done
    return 1
}

echo '# installed, it serves'
apt-get install --yes "$package" >/out/apt 2>&1
becomes_active
systemctl is-enabled --quiet $unit
test "$(status --request POST http://127.0.0.1:3000/api/v1/users.resetTOTP)" = 401
test "$(status http://127.0.0.1:3001/readyz)" = 200

echo '# the documented call'
head --bytes 16 /dev/urandom | base64 | host-harness user add ada --role admin --password >/dev/null
host-harness user add bob >/dev/null
bob=$(host-harness user show bob --json | field id)
host-harness user enrol-totp bob --json >/dev/null
code=$(host-harness user enrol-totp ada --json | grep --only-matching '"backupCodes":\["[^"]*' | cut --delimiter '"' --fields 4)
token=$(host-harness token create ada phone --json >/tmp/token; field token </tmp/token)
ada=$(field userId </tmp/token)
reset() {
    curl --silent --location http://127.0.0.1:3000/api/v1/users.resetTOTP \
        --header "x-auth-token: $token" --header "x-user-id: $ada" --header "x-2fa-code: $code" \
        --data "{ \"userId\":\"$bob\" }"
}
test "$(reset)" = '{"success":true}'
reset | grep totp-invalid >/dev/null

echo '# it runs as nobody else, and is hardened'
pid=$(systemctl show --property MainPID --value $unit)
test "$(stat --format %U /proc/"$pid")" = host-harness
test "$(stat --format %U:%a $state)" = host-harness:700
grep --quiet '^CapBnd:[[:space:]]0*$' /proc/"$pid"/status
grep --quiet '^Seccomp:[[:space:]]2$' /proc/"$pid"/status
systemd-analyze verify --man=no $unit
systemd-analyze security --no-pager --threshold=20 $unit >/out/security

echo '# code cannot be compiled where memory is never both written and run'
plugin=/usr/lib/host-harness/reset_totp.wasm
mkdir /run/systemd/system/$unit.d
printf '[Service]\nMemoryDenyWriteExecute=yes\n' >/run/systemd/system/$unit.d/never.conf
systemctl daemon-reload
fails systemctl restart $unit
journalctl --sync
journalctl --unit $unit | grep "unable to make memory executable" >/dev/null
rm /run/systemd/system/$unit.d/never.conf
systemctl daemon-reload
systemctl reset-failed $unit
systemctl restart $unit

echo '# sealed, as the manual says'
systemctl stop $unit
install --mode 640 --group host-harness /dev/null /etc/host-harness/chat.key
host-harness store new-key >/etc/host-harness/chat.key
HOST_HARNESS_KEY_FILE=/etc/host-harness/chat.key host-harness store rekey >/dev/null
echo 'HOST_HARNESS_KEY_FILE=/etc/host-harness/chat.key' >>/etc/host-harness/host-harness.env
systemctl start $unit
test "$(status http://127.0.0.1:3001/readyz)" = 200
journalctl --sync
journalctl --quiet "_SYSTEMD_INVOCATION_ID=$(systemctl show --property InvocationID --value $unit)" >/tmp/sealed
grep --quiet listening /tmp/sealed
fails grep --quiet 'not sealed' /tmp/sealed
export HOST_HARNESS_KEY_FILE=/etc/host-harness/chat.key

echo '# with a configuration, which is read again'
digest=$(host-harness admit $plugin --json | grep --only-matching 'sha256:[0-9a-f]*' | head -1)
install --mode 640 --group host-harness /dev/null /etc/host-harness/chat.toml
cat >/etc/host-harness/chat.toml <<CONFIG
[host]
admin-listen = "127.0.0.1:3001"
cache = "/var/cache/host-harness"
[plugins]
files = ["$plugin"]
[workspaces.default]
hosts = ["*"]
store = "$HOST_HARNESS_STORE"
plugin = "$digest"
grants = ["wall-clock", "users", "permissions", "settings", "secrets"]
CONFIG
fails systemctl reload $unit
cp /etc/host-harness/host-harness.env /tmp/without-configuration
sed --in-place 's|^SERVE_OPTIONS=.*|SERVE_OPTIONS=--config /etc/host-harness/chat.toml|' /etc/host-harness/host-harness.env
systemctl restart $unit
test -n "$(ls /var/cache/host-harness)"
echo 'settings.totp-window = 2' >>/etc/host-harness/chat.toml
systemctl reload $unit
test "$(host-harness setting get totp-window)" = 2

echo '# an upgrade that brings another plugin than is pinned leaves the service as it was'
invocation() { systemctl show --property InvocationID --value $unit; }
before=$(invocation)
sed --in-place=.pinned "s|^plugin = .*|plugin = \"sha256:$(printf %064d 0)\"|" /etc/host-harness/chat.toml
apt-get install --yes --reinstall "$package" >>/out/apt 2>&1
test "$(invocation)" = "$before"
test "$(status http://127.0.0.1:3001/readyz)" = 200
grep --quiet 'pins another plugin than the one of this version: plugin = "sha256:' /out/apt
mv /etc/host-harness/chat.toml.pinned /etc/host-harness/chat.toml
chgrp host-harness /etc/host-harness/chat.toml
apt-get install --yes --reinstall "$package" >>/out/apt 2>&1
test "$(invocation)" != "$before"
cp /tmp/without-configuration /etc/host-harness/host-harness.env
systemctl restart $unit

echo '# manual and completions'
for page in host-harness host-harness-serve host-harness-user-add; do
    gzip --decompress --stdout /usr/share/man/man1/$page.1.gz | grep '^\.TH' >/dev/null
done
bash -c 'source /usr/share/bash-completion/completions/host-harness; complete -p host-harness' >/dev/null
grep --quiet '^#compdef host-harness' /usr/share/zsh/vendor-completions/_host-harness
grep --quiet 'complete -c host-harness' /usr/share/fish/vendor_completions.d/host-harness.fish

echo '# another version: what was changed stays, and the service is started again'
echo '# ours' >>/etc/host-harness/host-harness.env
before=$(invocation)
apt-get install --yes --reinstall "$package" >>/out/apt 2>&1
systemctl is-active --quiet $unit
test "$(invocation)" != "$before"
grep --quiet '^# ours' /etc/host-harness/host-harness.env
host-harness user show ada >/dev/null

echo '# a store that is away is missed, not replaced, and found when it is back'
systemctl stop $unit
away=$(mktemp --directory)
mv $state/chat.sqlite "$away"
fails systemctl start $unit
test ! -e $state/chat.sqlite
journalctl --sync
journalctl --quiet --no-pager --unit $unit | grep 'host-harness workspace create' >/dev/null
mv "$away"/chat.sqlite $state/chat.sqlite
becomes_active

echo '# removed, the data stays; purged, nothing does but what was put into /etc'
apt-get remove --yes host-harness >>/out/apt 2>&1
test ! -e /usr/bin/host-harness
test -e $state/chat.sqlite
test -e /etc/host-harness/host-harness.env
apt-get purge --yes host-harness >>/out/apt 2>&1
test ! -e $state
test ! -e /var/cache/host-harness
test ! -e /etc/host-harness/host-harness.env
# It may be the only key of a database that is elsewhere.
test -e /etc/host-harness/chat.key
echo 'all done'
