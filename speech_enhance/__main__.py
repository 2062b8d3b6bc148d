"""`python -m speech_enhance` runs the command `speech-enhance`."""

import sys

from .cli import main

sys.exit(main())
