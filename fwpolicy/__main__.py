"""python -m fwpolicy"""

import sys

from fwpolicy.cli import main

sys.exit(main())
