"""A policy as one shell script, for hosts that are too old for our Python (docs/old-hosts.md).

Python makes the texts, here and now, proved; what must be found out on the host is done by awk and a shell.
"""
