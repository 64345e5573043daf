"""fwpolicy: firewall policies compiled to nftables, proved, applied and undone as one."""

VERSION = "0.1.0"
