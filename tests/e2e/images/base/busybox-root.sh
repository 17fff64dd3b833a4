#!/bin/sh
# Lays out /image as the base of the Prometheus family's official images is: BusyBox, certificates, time zones, the user
# nobody, and nothing else of a distribution. Then /image/unpacked holds the Debian packages that are named.
set -eu
apt-get update -q
cd /tmp
apt-get download busybox-static ca-certificates tzdata
for package in *.deb; do dpkg -x "$package" /base; done
rm -- *.deb
apt-get download "$@"
for package in *.deb; do dpkg -x "$package" /unpacked; done

mkdir -p /image/bin /image/etc/ssl/certs /image/usr/share /image/root
install -d -m 1777 /image/tmp
cp /base/usr/bin/busybox /image/bin/
for applet in $(/base/usr/bin/busybox --list); do
  [ "$applet" = busybox ] || ln -s busybox "/image/bin/$applet"
done
cp -r /base/usr/share/zoneinfo /image/usr/share/
cat /base/usr/share/ca-certificates/mozilla/*.crt >/image/etc/ssl/certs/ca-certificates.crt
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >/image/etc/passwd
printf 'root:x:0:\nnobody:x:65534:\n' >/image/etc/group
# Debian's programs are linked to its C library; the official ones are static.
find /unpacked/usr/bin -type f -exec ldd {} + | grep -o '/[^ ]*\.so[^ ]*' | sort -u | xargs -r cp -L --parents -t /image
