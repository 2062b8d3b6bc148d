"""`python -m speech_enhance` is `speech-enhance`."""

import sys

from .cli import main

sys.exit(main())
