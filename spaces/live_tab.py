"""The tab in which visitors hear their own microphone enhanced while they speak.

Gradio's streaming connection carries the sound: its event holds one place of the queue for the whole session. Gradio's
own components are not suitable. Its microphone writes every piece into a separate file, and a new piece replaces the
piece that waits while another is computed. Its player plays the output of a generator in segments. So the page's script
(`live.js`) sends the next piece when it has the answer to the last one, with all the sound that came meanwhile, and
plays the answers itself.
"""

from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

import gradio as gr
import texts
from calls import refusal
from live_visit import LiveVisit, expected_load, read_piece
from models import Models
from serving_limits import Limits, RequestError

from speech_enhance.live.timing import LATENCIES

LIVE_QUEUE = "live"
"""Name of the queue's places for live sessions."""
PURPOSES = {"low": "for talking", "quality": "for listening"}
BROWSER_RATE = 48000
COMFORTABLE_LOAD = 0.5


class LiveHandlers:
    """Answers the events of the tab.

    Args:
        models: Models that enhance. Visitors share the network and nothing else.
        limits: Limits, among them the length of a session.
    """

    def __init__(self, models: Models, limits: Limits):
        self.models, self.limits = models, limits
        # visits by session; the page's state owns them
        self.visits: WeakValueDictionary[str, LiveVisit] = WeakValueDictionary()

    def latencies(self) -> tuple[dict[str, float], str]:
        """Return the delay in milliseconds of every latency at the rate of most browsers, and the name of the one to
        begin with: the shortest that this machine computes with enough time to spare, or else the longest."""
        lives = {name: self.models.live(BROWSER_RATE, name) for name in LATENCIES}
        delays = {name: 1000 * live.latency / BROWSER_RATE for name, live in lives.items()}
        quick = [name for name, live in lives.items() if expected_load(live) < COMFORTABLE_LOAD]
        return delays, min(quick, key=delays.__getitem__) if quick else max(delays, key=delays.__getitem__)

    def hear(self, value, latency: str, visit: LiveVisit | None, request: gr.Request):
        """Return the answer to a piece of sound (see [`LiveVisit.hear`]), and this page's own visit."""
        try:
            piece = read_piece(value)
            if visit is None:
                visit = LiveVisit(self.models.live, self.limits)
                self.visits[str(request.session_hash)] = visit
            return visit.hear(piece, latency), visit
        except RequestError as error:
            raise refusal(str(error)) from None

    def stop_session(self, session: str | None) -> None:
        """End the session of a visitor who has left."""
        visit = self.visits.get(str(session))
        if visit is not None:
            visit.end()


def live_tab(handlers: LiveHandlers, limits: Limits, folder: Path) -> None:
    """Build the tab and its events. `folder` holds the script."""
    delays, quickest = handlers.latencies()
    choices = [(f"{name.capitalize()}: {delay:.0f} ms\n{PURPOSES[name]}", name) for name, delay in delays.items()]
    gr.HTML(texts.live_intro(), elem_classes="small", apply_default_css=False)
    latency = gr.Radio(choices, value=quickest, label="Delay of the model", elem_id="live-latency")
    plain = partial(gr.HTML, apply_default_css=False)
    sound = plain(
        None,
        html_template=texts.live_controls(),
        js_on_load=(folder / "live.js").read_text(encoding="utf-8"),
        elem_id="live",
    )
    answer = plain(None, html_template="", js_on_load="watch('value', () => window.speechLive.answer(props.value));")
    gr.HTML(texts.live_privacy(limits), elem_classes="small", apply_default_css=False)
    heard = sound.stream(
        handlers.hear,
        [sound, latency, visit := gr.State()],
        [answer, visit],
        api_visibility="private",
        show_progress="hidden",
        concurrency_id=LIVE_QUEUE,
        concurrency_limit=limits.max_live,
        time_limit=limits.live_seconds + 30,  # in case a page does not end by itself
    )
    script = "async () => ({ refused: await window.speechPage.refusal(), at: Date.now() })"
    heard.failure(None, None, answer, js=script, api_visibility="private")
