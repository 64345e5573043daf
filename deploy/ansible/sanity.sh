#!/bin/sh
# sanity.sh FOLDER [OPTION...]: ansible-test sanity of the collection, on a copy in FOLDER. It wants a git checkout
# below a folder ansible_collections. Without options it runs whole, with what it fetches from PyPI.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
copy="$1/ansible_collections/fwpolicy/fwpolicy"
shift
rm -rf "$copy"
mkdir -p "${copy%/*}"
cp -R "$here/ansible_collections/fwpolicy/fwpolicy" "$copy"
cd "$copy"
find . -name __pycache__ -prune -exec rm -rf {} +
git init -q
echo /tests/output/ > .git/info/exclude
git add -A
if [ $# = 0 ]; then set -- --venv --python "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; fi
exec ansible-test sanity "$@"
