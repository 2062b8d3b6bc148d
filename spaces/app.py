"""The web demo: `python spaces/app.py`, then open the address it prints.

Settings are environment variables: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT; MODEL_ID, a pipeline folder or Hub id
(default: the model in the package); CODE_URL, where the code lives; and the limits of `speech_enhance.serving.Limits`.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import gradio as gr
from guard import Guard, fetch_nothing
from handlers import Handlers
from page import build_page
from starlette.middleware import Middleware

from speech_enhance.file_enhancement import UserError
from speech_enhance.serving import Limits

FOLDER = Path(__file__).parent


def setting(name: str) -> str | None:
    """A variable of the environment, else what `deploy.py` wrote beside this file."""
    written = FOLDER / "settings.json"
    settings = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {}
    return os.environ.get(name) or settings.get(name)


def theme() -> gr.themes.Base:
    """Gradio's Soft with fonts of the visitor's system, so nothing is fetched, and grey text dark enough to read."""
    soft = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    # `set` forgets the background that Soft has chosen
    return soft.set(
        background_fill_primary="*neutral_50",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
    )


def serve(folder: Path) -> None:
    """Run the page until the process is told to end; temporary files go to `folder`."""
    model, code_url = setting("MODEL_ID"), setting("CODE_URL")
    try:
        limits = Limits.from_environment()
        handlers = Handlers(model, limits, folder)
    except (ValueError, UserError) as error:
        sys.exit(f"app.py: error: {error}")
    demo = build_page(handlers, limits, FOLDER, model, code_url)
    fetch_nothing()
    demo.queue(max_size=limits.max_queue, default_concurrency_limit=limits.concurrent_runs)
    demo.launch(
        theme=theme(),
        head=f"<style>{(FOLDER / 'page.css').read_text(encoding='utf-8')}</style>",
        allowed_paths=[str(FOLDER / "examples")],
        max_file_size=limits.max_file_mb * 10**6,
        app_kwargs={"middleware": [Middleware(Guard, max_body=(limits.max_file_mb + 1) * 10**6)]},
        max_threads=limits.concurrent_runs + 6,  # every thread that has computed keeps memory; six for short answers
        ssr_mode=False,
        footer_links=["api", "settings"],
    )


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the files below are deleted
    with tempfile.TemporaryDirectory(prefix="speech-enhance-") as folder:
        folder = os.environ.setdefault("GRADIO_TEMP_DIR", folder)
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "0")
        serve(Path(folder))


if __name__ == "__main__":
    main()
