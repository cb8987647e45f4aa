#!/bin/sh
# Builds a Debian package in dist/: it needs dpkg-dev, debhelper, dh-virtualenv, python3-dev and python3-venv.
set -eu
cd "$(dirname "$0")/.."
command -v dh_virtualenv >/dev/null || {
    echo "build-deb: apt-get install build-essential debhelper dh-virtualenv python3-dev python3-venv" >&2
    exit 1
}
version=$(sed -n 's/^VERSION = "\(.*\)"/\1/p' kvd/version.py)
folder=build/deb/kvd-$version
rm -rf build/deb
mkdir -p "$folder" dist
git ls-files -z | xargs -0 cp --parents -t "$folder"
cp -r conf/debian "$folder/debian"
chmod +x "$folder/debian/rules"
printf 'kvd (%s-1) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- The kvd authors <kvd@localhost>  %s\n' \
    "$version" "$(date -R)" >"$folder/debian/changelog"
(cd "$folder" && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps)
cp build/deb/*.deb dist/
