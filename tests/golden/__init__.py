"""Golden cases: a folder each, with `policy.yaml`, `ruleset.nft` (what it compiles to) and `packets`.

`facts` beside them holds "nat" where the host translates addresses. `python -m tests.golden` writes
every ruleset.nft anew: read the diff before you commit it.
"""
