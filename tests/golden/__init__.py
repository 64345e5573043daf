"""Golden cases: a folder each, with `policy.yaml`, `ruleset.nft` (what it compiles to) and `packets`.

`rules.v4`, `rules.v6` and, where sets are needed, `ipset` are what iptables is given; `iptables.err` says
why it cannot be said there. `facts` beside them holds "nat" where the host translates addresses.
`python -m tests.golden` writes all of them anew: read the diff before you commit it.
"""
