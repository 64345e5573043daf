#!/bin/sh
# apply.sh POLICY OPTION: in force. With --confirm=TIME it is taken back unless confirm.sh follows.
set -eu
fwpolicy apply "$2" "$1"
