"""The web demo: `python spaces/app.py`, then open the address it prints.

Settings are environment variables: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT; MODEL_ID, a pipeline folder or Hub id
(default: the model in the package); LARGE_MODEL_ID, a second one to choose; CODE_URL, where the code
lives; ALLOWED_HOSTS, further names of the server with commas between; GRADIO_TEMP_DIR, a folder in which the demo makes
its own; and the limits of `serving.Limits`.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import gradio as gr
from calls import Calls
from fair_queue import FairQueue
from guard import Guard, tame_gradio
from handlers import Handlers
from models import Models
from page import build_page
from serving import Limits
from visitors import Disk, Listeners

from speech_enhance.jobs.file import UserError

FOLDER = Path(__file__).parent


def setting(name: str) -> str | None:
    """Return a variable of the environment, else the value that `deploy.py` wrote beside this file."""
    written = FOLDER / "settings.json"
    settings = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {}
    return os.environ.get(name) or settings.get(name)


def theme() -> gr.themes.Base:
    """Return a theme of paper, ink and one accent. It uses fonts of the visitor's system, so nothing is fetched;
    `page.css` does the rest."""
    base = gr.themes.Base(
        primary_hue="orange",
        neutral_hue="stone",
        radius_size="md",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return base.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color="white",
        button_primary_text_color_dark="*neutral_950",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        color_accent="*primary_700",
        slider_color="*primary_700",
        slider_color_dark="*primary_400",
        body_background_fill="#faf8f5",
        body_background_fill_dark="#171412",
        background_fill_primary="white",
        background_fill_primary_dark="#211d1a",
        block_background_fill="white",
        block_background_fill_dark="#211d1a",
        block_border_width="1px",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_300",
        block_title_text_weight="600",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_400",
        checkbox_label_text_color_selected="white",
        checkbox_label_text_color_selected_dark="*neutral_950",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
    )


def large_model() -> str | None:
    """Return the place of the large model: the setting LARGE_MODEL_ID, else the folder in the code's repository if it
    exists."""
    beside = FOLDER.parent / "checkpoints" / "large"
    return setting("LARGE_MODEL_ID") or (str(beside) if (beside / "model_index.json").is_file() else None)


def own_hosts() -> set[str]:
    """Return the host names by which the server may be addressed."""
    names = [setting("SPACE_HOST") or "", *(setting("ALLOWED_HOSTS") or "").split(",")]
    return {name.strip().lower() for name in names if name.strip()}


def own_text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def serve(folder: Path) -> None:
    """Run the page until the process is told to end. Temporary files go to `folder`."""
    model, code_url = setting("MODEL_ID"), setting("CODE_URL")
    try:
        limits = Limits.from_environment()
        disk = Disk(limits)
        models = Models(model, large_model())
        handlers = Handlers(models, limits, folder, disk)
    except (ValueError, UserError) as error:
        sys.exit(f"app.py: error: {error}")
    models.measure()
    tame_gradio(folder)
    demo = build_page(handlers, limits, FOLDER, model, code_url)
    # all computing goes through the queue
    demo.queue(max_size=limits.max_queue, default_concurrency_limit=limits.concurrent_runs, api_open=False)
    queue = demo._queue = FairQueue.replace(demo._queue, limits.max_queue_per_visitor)
    listeners = Listeners(limits.stop_unheard_after_seconds)

    @asynccontextmanager
    async def guarded(app):
        """Put the guard in front of all of Gradio's middleware when the server starts."""
        options = {"calls": Calls(demo), "disk": disk, "listeners": listeners, "hosts": own_hosts()}
        app.middleware_stack = Guard(app.middleware_stack, max_body=(limits.max_file_mb + 1) * 10**6, **options)
        dropping = asyncio.create_task(queue.keep_dropping(listeners, handlers.stop_session))
        yield
        dropping.cancel()

    demo.launch(
        theme=theme(),
        head=f"<style>{own_text('page.css')}</style><script>{own_text('page.js')}</script>",
        allowed_paths=[str(FOLDER / "examples")],
        max_file_size=limits.max_file_mb * 10**6,
        app_kwargs={"lifespan": guarded},
        # six threads for short answers; no more, because every thread that has computed keeps memory
        max_threads=limits.concurrent_runs + limits.max_live + 6,
        state_session_capacity=100,  # a state takes some kilobytes; a live session ends with its visitor
        ssr_mode=False,
        footer_links=["settings"],  # the API has its own tab, also on phones
    )


def private_folder() -> tempfile.TemporaryDirectory:
    """Make a new folder for the files of visitors, in GRADIO_TEMP_DIR if that is set. Everything in it is deleted, by
    age and at the end, so it is never a folder that anybody else uses."""
    parent = os.environ.get("GRADIO_TEMP_DIR") or None
    try:
        if parent:
            parent = os.path.abspath(parent)
            os.makedirs(parent, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="speech-enhance-", dir=parent)
    except OSError as error:
        sys.exit(f"app.py: error: cannot make a folder for temporary files: {error}")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # exiting deletes the temporary files below
    with private_folder() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "0")
        os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # Gradio sums up all events after every run
        if setting("SPACE_HOST"):  # trust the proxies of Spaces, which tell the visitor's address
            os.environ.setdefault("FORWARDED_ALLOW_IPS", "127.0.0.1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16")
        serve(Path(folder))


if __name__ == "__main__":
    main()
