# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

# What it does is in the action plugin of the same name: nothing of Python is sent to the host.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apply
short_description: Apply a signed bundle of a firewall policy
version_added: 0.1.0
description:
  - Ships a bundle (C(fwpolicy bundle)) to the host, has its signature verified before anything else,
    and applies it as a whole or not at all.
  - The apply is taken back by the host itself unless a new connection, opened after it, confirms it
    within O(confirm) seconds. Where none can be opened the task waits until the host is back, and fails
    with the reason.
  - A policy with C(gates) is confirmed by them, where the host has C(fwpolicy); a new connection is
    tried all the same.
  - In check mode it says whether anything would change; a bundle that is in force already changes nothing.
options:
  bundle:
    description: The bundle's file on the controller.
    type: path
    required: true
  host:
    description:
      - The host that the bundle must be for, C(inventory_hostname) if left out. The inventory decides
        which machine that is.
    type: str
  backend:
    description:
      - What loads the rules. V(auto) is what a script has used before, else V(nft) where there is that
        command; C(fwpolicy) finds out itself.
    type: str
    choices: [auto, nft, iptables]
    default: auto
  verify:
    description:
      - Where the signature is verified if RV(way=script). C(fwpolicy) always verifies on the host.
      - V(host) by C(ssh-keygen) of OpenSSH 8.2 or newer there. V(controller) here, against
        O(controller_signers).
      - V(auto) is the host, and where its OpenSSH is too old the controller, if there are
        O(controller_signers). RV(verified) says which it was.
    type: str
    choices: [auto, host, controller]
    default: auto
  signers:
    description: The file of allowed signers on the host, C(/etc/fwpolicy/allowed_signers) if left out.
    type: str
  controller_signers:
    description:
      - A file of allowed signers on the controller. If given, nothing is sent that it does not allow.
    type: path
  older:
    description: Take a bundle with a lower number than one that was in force here, or another of its number.
    type: bool
    default: false
  replace:
    description: Put this policy in the place of another one, or of another host's.
    type: bool
    default: false
  force:
    description: Go on where C(fwpolicy) sees that this very connection could not be opened again.
    type: bool
    default: false
  confirm:
    description: For how many seconds the apply waits to be confirmed, 5 to 3600. With V(0) it counts at once.
    type: int
    default: 60
  hold:
    description:
      - Try the new connection, and leave the apply waiting, for M(fwpolicy.fwpolicy.confirm). So
        several hosts count together or not at all.
    type: bool
    default: false
  without_u32:
    description: On a host with iptables and without its C(u32) match, if RV(way=script).
    type: bool
    default: false
  without_ipv6:
    description: On a host whose kernel has no IPv6, if RV(way=script).
    type: bool
    default: false
extends_documentation_fragment: fwpolicy.fwpolicy.host
attributes:
  diff_mode:
    support: full
author:
  - the fwpolicy authors (!UNKNOWN)
seealso:
  - module: fwpolicy.fwpolicy.confirm
  - module: fwpolicy.fwpolicy.rollback
"""

EXAMPLES = r"""
- name: Apply this host's bundle, unless it locks us out
  fwpolicy.fwpolicy.apply:
    bundle: "bundles/{{ inventory_hostname }}.fwb"

- name: An old host, whose OpenSSH cannot verify
  fwpolicy.fwpolicy.apply:
    bundle: bundles/pbx.fwb
    verify: controller
    controller_signers: /etc/fwpolicy/allowed_signers
    confirm: 120
"""

RETURN = r"""
way:
  description: How the host was asked.
  returned: always
  type: str
  sample: script
backend:
  description: What loads the rules, if RV(way=script).
  returned: when known
  type: str
  sample: nft
policy:
  description: The policy's name.
  returned: when the signature holds
  type: str
  sample: web
number:
  description: The bundle's number; a higher one is newer.
  returned: when the signature holds
  type: int
  sample: 42
commit:
  description: The commit that the bundle was made of.
  returned: when the signature holds
  type: str
  sample: 3f8fb04c1d2e5a6b7c8d9e0f1a2b3c4d5e6f7a8b
signer:
  description: Who signed it, where whoever verified it says so.
  returned: when known
  type: str
  sample: release@example.org
verified:
  description: Where the signature was verified, V(host) or V(controller).
  returned: when it was
  type: str
  sample: host
generation:
  description: The number of this apply on the host, if RV(way=fwpolicy).
  returned: when something changed
  type: int
  sample: 7
before:
  description: The generation that ran before, if RV(way=fwpolicy) and there was one.
  returned: success
  type: int
  sample: 6
confirmed:
  description: Does it count from now on?
  returned: when not in check mode
  type: bool
waits:
  description: Does it wait to be confirmed?
  returned: when not in check mode
  type: bool
taken_back:
  description: Was it seen that the host is as before?
  returned: when it could not be confirmed
  type: bool
why:
  description: The reason of a failure; else what changes, each in few words.
  returned: on failure, and if RV(way=fwpolicy)
  type: raw
  sample: [the rules, restart chrony]
said:
  description: What the host said of it, line by line.
  returned: success
  type: list
  elements: str
diff:
  description: Traffic that is allowed or denied from then on, rules, and files of daemons.
  returned: with diff mode
  type: list
  elements: dict
"""
