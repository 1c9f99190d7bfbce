"""Lets tests import the small machines that stand beside them (`tiny_run`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
