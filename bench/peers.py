"""The same workload in the language of each peer: `write` puts it into a folder, and says how it is compiled.

None of them touches the kernel.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

# Of those that come from PyPI, in an environment of their own (`make bench` makes it).
BIN = Path("build/peers/bin").resolve()


class Workload(NamedTuple):
    """`rules`: (source, port) pairs to accept. `group`: addresses to drop, which stand in a side file."""

    name: str
    rules: tuple[tuple[str, int], ...] = ()
    group: tuple[str, ...] = ()


def fwpolicy(work: Workload, folder: Path) -> list[str]:
    lines = [f"    - {{service: tcp/{port}, from: {source}}}\n" for source, port in work.rules]
    text = "version: 1\n"
    if work.group:
        (folder / "abuse.list").write_text("\n".join(work.group))
        text += "groups:\n  abuse: {file: abuse.list}\n"
    text += "input:\n  default: drop\n"
    text += "".join(["  allow:\n", *lines]) if lines else ""
    text += "  block:\n    - {from: abuse}\n" if work.group else ""
    (folder / "policy.yaml").write_text(text)
    program = str(Path(sys.executable).with_name("fwpolicy"))
    return [program, "compile", "--no-prove", str(folder / "policy.yaml")]


def proved(work: Workload, folder: Path) -> list[str]:
    """The same with the proof, which no peer has."""
    return [word for word in fwpolicy(work, folder) if word != "--no-prove"]


def ferm(work: Workload, folder: Path) -> list[str]:
    lines = [f"    saddr {source} proto tcp dport {port} ACCEPT;\n" for source, port in work.rules]
    (folder / "abuse.list").write_text("\n".join(work.group))
    if work.group:
        lines.append(f"    saddr `cat {folder / 'abuse.list'}` DROP;\n")
    chain = f"table filter chain INPUT {{\n    policy DROP;\n{''.join(lines)}}}\n"
    (folder / "ferm.conf").write_text(chain)
    return ["ferm", "--noexec", "--lines", str(folder / "ferm.conf")]


def nftgen(work: Workload, folder: Path) -> list[str]:
    (folder / "policies/hosts").mkdir(parents=True)
    (folder / "definitions").mkdir()
    lines = [
        f"          - {{saddr: {source}, proto: tcp, dport: {port}, action: accept}}\n"
        for source, port in work.rules
    ]
    if work.group:
        members = "".join(f"    - {address}\n" for address in work.group)
        (folder / "definitions/networks.yaml").write_text(f"networks:\n  abuse:\n{members}")
        lines.append("          - {saddr: abuse, action: drop}\n")
    (folder / "policies/hosts/host.yaml").write_text(
        "tables:\n  - family: inet\n    name: filter\n    chains:\n      - name: input\n"
        f"        hook: input\n        rules:\n{''.join(lines)}"
    )
    return [str(BIN / "nftgen"), "build", str(folder), "--host", "host", "--stdout"]


def aerleon(work: Workload, folder: Path) -> list[str]:
    names = range(len(work.rules))
    networks = [f"  N{n}: {{values: [{{address: {work.rules[n][0]}}}]}}\n" for n in names]
    services = [f"  S{n}: [{{protocol: tcp, port: {work.rules[n][1]}}}]\n" for n in names]
    accept = "protocol: tcp, action: accept"
    terms = [
        f"      - {{name: r{n}, source-address: N{n}, destination-port: S{n}, {accept}}}\n" for n in names
    ]
    if work.group:
        members = "".join(f"      - address: {address}/32\n" for address in work.group)
        networks.append(f"  ABUSE:\n    values:\n{members}")
        terms.append("      - {name: abuse, source-address: ABUSE, action: deny}\n")
    definitions = f"networks:\n{''.join(networks)}"
    definitions += f"services:\n{''.join(services)}" if services else ""
    policy = "filters:\n  - header:\n      targets:\n        nftables: inet input\n    terms:\n" + "".join(
        terms
    )
    return _aclgen("aerleon", folder, {"n.yaml": definitions}, ("policy.yaml", policy))


def capirca(work: Workload, folder: Path) -> list[str]:
    """Version 2.0.9 leaves the port out of its nftables rules: less work than the others do."""
    names = range(len(work.rules))
    networks = "".join(f"N{n} = {work.rules[n][0]}\n" for n in names)
    services = "".join(f"S{n} = {work.rules[n][1]}/tcp\n" for n in names)
    terms = [
        f"term r{n} {{\n  source-address:: N{n}\n  destination-port:: S{n}\n"
        "  protocol:: tcp\n  action:: accept\n}\n"
        for n in names
    ]
    if work.group:
        networks += f"ABUSE = {'        '.join(f'{address}/32{chr(10)}' for address in work.group)}"
        terms.append("term abuse {\n  source-address:: ABUSE\n  action:: deny\n}\n")
    policy = "header {\n  target:: nftables inet input\n}\n" + "".join(terms)
    return _aclgen("capirca", folder, {"n.net": networks, "n.svc": services}, ("policy.pol", policy))


def _aclgen(module: str, folder: Path, definitions: dict[str, str], policy: tuple[str, str]) -> list[str]:
    """Both have a program of this name, so each is called by its module."""
    (folder / "definitions").mkdir()
    (folder / "output").mkdir()
    for name, text in definitions.items():
        (folder / "definitions" / name).write_text(text)
    (folder / policy[0]).write_text(policy[1])
    options = {
        "base_directory": folder,
        "definitions_directory": folder / "definitions",
        "policy_file": folder / policy[0],
        "output_directory": folder / "output",
    }
    start = f"from {module}.aclgen import EntryPoint; EntryPoint()"
    return [str(BIN / "python"), "-c", start, *(f"--{key}={value}" for key, value in options.items())]


ALL = {each.__name__: each for each in (fwpolicy, proved, ferm, nftgen, aerleon, capirca)}


def is_installed(name: str) -> bool:
    if name in ("fwpolicy", "proved"):
        return True
    if name == "ferm":
        return shutil.which(name) is not None
    return any(BIN.parent.glob(f"lib/*/site-packages/{name}"))
