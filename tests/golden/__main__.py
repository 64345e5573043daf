"""python -m tests.golden: write every golden ruleset anew."""

from tests.golden.cases import CASES, write

for case in CASES:
    for path in write(case):
        print(path)
