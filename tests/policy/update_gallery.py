"""`python -m tests.policy.update_gallery`: writes what is said now into tests/invalid/*.err.

Read the difference before you commit it: the gallery is what users see.
"""

from __future__ import annotations

from tests.policy.gallery import FOLDER, cases, refusal


def update() -> None:
    for case in cases():
        code, said = refusal(case)
        if code != 1:
            print(f"{case}: is not refused (exit code {code})")
        (FOLDER / f"{case}.err").write_text(said, encoding="utf-8")


if __name__ == "__main__":
    update()
