"""What a host's time daemon must be, and what was found of it."""

from __future__ import annotations

from fwpolicy.addresses import AddressSet
from fwpolicy.errors import Span
from fwpolicy.record import record

# The daemons we know, as `roles.ntp.daemon` names them; "ntpd" is ntp.org's.
KINDS = ("ntpd", "ntpsec", "chrony", "openntpd", "timesyncd")


@record
class TimeService:
    """A time role in a daemon's terms.

    `mode`: "client-only", "server" or "closed". `serve`: whom a server answers (empty otherwise).
    `servers`: the only time servers asked, or None for any. `monitors`: a monitoring agent asks
    the daemon over loopback. `nts`: NTS-KE (tcp/4460, RFC 8915) is used. `daemon`: one of KINDS,
    "auto" or "none". `origin`: the role's place in the policy.
    """

    mode: str
    serve: AddressSet = AddressSet()
    servers: AddressSet | None = None
    monitors: bool = False
    nts: bool = False
    daemon: str = "auto"
    origin: Span | None = None


@record
class ConfigFile:
    """A configuration file as text; `path` is absolute on the host (or the image under --root)."""

    path: str
    text: str


@record
class DaemonConfig:
    """A time daemon's configuration as found on a host.

    `kind` is one of KINDS; `version` is () when unknown; `main` is the path the daemon reads first;
    `files` holds the main file and all that it includes, in the order in which the daemon reads
    them (a main file that does not exist is left out).
    """

    kind: str
    version: tuple[int, ...]
    main: str
    files: tuple[ConfigFile, ...]


@record
class Source:
    """A time source that a daemon's configuration names: `host` is a name or an address."""

    host: str
    pool: bool = False


@record
class DaemonChange:
    """What a backend wants: the files to write, whole, and what the operator should read.

    `files` lists only those whose text differs from what was found. `notes` are sentences.
    """

    files: tuple[ConfigFile, ...]
    notes: tuple[str, ...] = ()
