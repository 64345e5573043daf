"""fwpolicy: firewall policies compiled to nftables, applied, verified and undone as one.

The public API; each name is imported when it is first used:

- `load(texts, read_file)`: one Policy from (file name, bytes) pairs; PolicyError with located problems
- `compile(policy, facts)`: its Ruleset; `render(ruleset, source)`: as the file that nft loads
- `prove(policy, servers, artifact)`: the rendered file does what the policy says, for every packet, or
  CheckFailedError with one that shows otherwise
- `program(policy)`: the policy for questions; `question(text)`, `explain(program, question)`: what happens
  to a packet in PACKET syntax; `diff(old, new)`: the traffic that two programs treat differently
- `plan(policy, machine, options)`: what apply would do; `apply(plan, machine, ...)`: do it
"""

from __future__ import annotations

VERSION = "0.1.0"

_HOMES = {
    "load": ("fwpolicy.policy.load", "load"),
    "compile": ("fwpolicy.compiler.compile", "compile_ruleset"),
    "render": ("fwpolicy.backends.nft.render", "render"),
    "prove": ("fwpolicy.deploy.proof", "prove_compiled"),
    "program": ("fwpolicy.model.of_policy", "of_policy"),
    "question": ("fwpolicy.model.question", "parse"),
    "explain": ("fwpolicy.model.explain", "cases"),
    "diff": ("fwpolicy.model.compare", "changes"),
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
