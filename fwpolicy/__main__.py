"""python -m fwpolicy"""

from fwpolicy.cli import program

program()
