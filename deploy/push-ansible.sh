#!/bin/sh
# push-ansible.sh DIR: rolls the bundles of DIR out by Ansible, a canary first (docs/fleet.md, "Push: Ansible").
#
# INVENTORY  the inventory (inventory.yaml)
#
# Exits as ansible-playbook does: 2 where a host failed, and then no batch came after it.
set -eu

bundles=$(cd "${1:?a folder of bundles}" && pwd)
case $bundles in
*[\'\"\\{}]*)
    echo "push-ansible.sh: $bundles: no quotes, braces or backslashes in the folder's name" >&2
    exit 64
    ;;
esac
exec ansible-playbook -i "${INVENTORY:-inventory.yaml}" fwpolicy.fwpolicy.rollout -e "push_bundles='$bundles'"
