"""python -m tests.golden: write every golden ruleset anew."""

from tests.golden.cases import CASES, golden, rendered

for case in CASES:
    golden(case).write_text(rendered(case))
    print(golden(case))
