#!/bin/sh
# confirm.sh: from a new connection, which shows that nobody is locked out; then: is it what was applied?
set -eu
fwpolicy confirm
fwpolicy status
