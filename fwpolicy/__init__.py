"""fwpolicy: firewall policies compiled to nftables, applied, verified and undone as one.

The public API; each name is imported when it is first used:

- `load(texts, read_file)`: one Policy from (file name, bytes) pairs; PolicyError with located problems
- `compile(policy, facts)`: its Ruleset; `render(ruleset, source)`: as the file that nft loads
- `plan(policy, machine, options)`: what apply would do; `apply(plan, machine, ...)`: do it
"""

from __future__ import annotations

VERSION = "0.1.0"

_HOMES = {
    "load": ("fwpolicy.policy.load", "load"),
    "compile": ("fwpolicy.compiler.compile", "compile_ruleset"),
    "render": ("fwpolicy.backends.nft.render", "render"),
    "plan": ("fwpolicy.deploy.plan", "make_plan"),
    "apply": ("fwpolicy.deploy.apply", "carry_out"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'fwpolicy' has no attribute '{name}'")
    from importlib import import_module  # noqa: PLC0415  (start-up pays only for what it uses)

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return ["VERSION", *_HOMES]
