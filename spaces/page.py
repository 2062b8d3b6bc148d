"""The page: what a visitor sees, and which handler answers which event."""

import json
import re
from dataclasses import astuple
from pathlib import Path

import gradio as gr
from calls import Page
from handlers import NO_LIMIT_DB, Handlers
from results import message

from speech_enhance import DEFAULT_CHECKPOINT
from speech_enhance.schedulers import PRESETS, SCHEDULERS
from speech_enhance.serving import Limits, Settings

EXAMPLES = {
    "workshop": "Try: workshop, fan and keys",
    "street": "Try: street, stereo",
    "telephone": "Try: telephone line",
}
STEPS = [1, 2, 4, 8, 16]
DEFAULT = "balanced"
HINT = "Upload a recording, record one, or take an example; then press Enhance."
COMPARE_HINT = "Choose schedulers and step counts, then press Compare."
# the last input of a handler is what the browser says of itself
TELL_CLIENT = """(...values) => {
  const page = document.querySelector("#content");
  const mode = document.body.classList.contains("dark") ? "dark" : "light";
  return [...values.slice(0, -1), `${page.clientWidth},${mode}`];
}"""


def build_page(handlers: Handlers, limits: Limits, folder: Path, model: str | None, code_url: str | None) -> gr.Blocks:
    """The `gr.Blocks` of the demo; `folder` holds its script and examples, `model` and `code_url` are linked."""
    age = limits.delete_after_seconds
    with Page(
        title="Speech enhancement by diffusion", analytics_enabled=False, delete_cache=(min(age, 60), age)
    ) as demo:
        gr.HTML(intro(model, code_url), elem_id="intro")
        with gr.Column(elem_id="content"):
            audio = gr.Audio(
                label="Recording", sources=["upload", "microphone"], type="filepath", buttons=[], elem_id="recording"
            )
            with gr.Row(elem_id="examples"):
                examples = {name: gr.Button(label, size="sm") for name, label in EXAMPLES.items()}
            gr.HTML(privacy(limits), elem_classes="small")
            client = gr.Textbox(visible=False)
            script = (folder / "player.js").read_text(encoding="utf-8")
            with gr.Tabs():
                with gr.Tab("Enhance"):
                    runs = enhance_tab(handlers, limits, script, audio, client)
                with gr.Tab("Compare schedulers"):
                    compare_tab(handlers, limits, script, audio, client)
                with gr.Tab("About"):
                    gr.Markdown(about(limits) + model_card(model))
        for name, button in examples.items():
            path = str(folder / "examples" / f"{name}.flac")
            shown = button.click(lambda path=path: path, None, audio, api_visibility="private", show_progress="hidden")
            runs(shown.then)
        demo.unload(handlers.stop)
    return demo


def enhance_tab(handlers: Handlers, limits: Limits, script: str, audio: gr.Audio, client: gr.Textbox):
    """Controls and results of one run; returns a function that appends the run to an event."""
    preset = gr.Radio(
        [(label, name) for name, label in preset_labels().items()],
        value=DEFAULT,
        label="Preset",
        info="Speed against quality; Advanced shows what is behind a preset, and changes it.",
    )
    with gr.Accordion("Advanced", open=False):
        scheduler, steps, estimates = preset_controls(limits)
        with gr.Row():
            seed = gr.Number(0, label="Seed", info="another one is another guess", precision=0, minimum=0)
            limit = gr.Slider(0, NO_LIMIT_DB, NO_LIMIT_DB, step=1, label="Attenuation limit (dB)", info=f"turn nothing down by more than this; {NO_LIMIT_DB} is no limit")  # fmt: skip
            mix = gr.Slider(0, 1, 1, step=0.05, label="Wet/dry", info="1 is all enhanced, 0 the original")
    with gr.Row():
        start = gr.Button("Enhance", variant="primary", size="lg", elem_id="enhance")
        cancel = gr.Button("Cancel", variant="stop", size="lg", elem_id="cancel", interactive=False)
    status = gr.HTML(message("hint", HINT), elem_id="status")
    player = gr.HTML(None, html_template="", js_on_load=script, elem_id="player")
    download = gr.DownloadButton("Download", visible=False, elem_id="download")
    table = gr.HTML("", elem_id="facts")

    settings = [scheduler, steps, estimates, seed, limit, mix]
    values = {name: astuple(item) for name, item in PRESETS.items()}
    fill = f"(name) => ({json.dumps(values)})[name]"
    preset.input(None, preset, [scheduler, steps, estimates], js=fill, api_visibility="private")

    def runs(trigger):
        event = {"fn": handlers.show_enhanced, "inputs": [audio, *settings, client], "js": TELL_CLIENT}
        outputs = [status, player, table, download]
        wire(trigger, event, outputs, start, cancel, handlers)

    runs(start.click)
    # the same as a function for programs
    gr.Button(visible=False).click(
        handlers.enhance,
        [audio, *settings],
        [gr.File(label="enhanced", visible=False), gr.JSON(label="facts", visible=False)],
        api_name="enhance",
        concurrency_id="model",
        api_description="Enhance one recording; returns the enhanced file, in the format of the upload, and the facts of "
        "the run: duration in seconds, sampling_rate, channels, scheduler, num_inference_steps, num_estimates, evaluations "
        "of the network per window, seconds of computing.",
    )
    return runs


def preset_controls(limits: Limits) -> tuple[gr.Dropdown, gr.Slider, gr.Slider]:
    """Scheduler, steps and estimates, as the default preset has them."""
    chosen = Settings()
    with gr.Row():
        scheduler = gr.Dropdown(
            list(SCHEDULERS), value=chosen.scheduler, label="Scheduler", info="how the diffusion is solved"
        )
        steps = gr.Slider(
            1, limits.max_steps, chosen.num_inference_steps, step=1, label="Steps", info="of the scheduler"
        )
        estimates = gr.Slider(1, limits.max_estimates, chosen.num_estimates, step=1, label="Estimates", info="runs from different noise, frequencies and windows, averaged")  # fmt: skip
    return scheduler, steps, estimates


def compare_tab(handlers: Handlers, limits: Limits, script: str, audio: gr.Audio, client: gr.Textbox) -> None:
    """Choice of settings; their results to hear, to see and in a table."""
    gr.Markdown(
        "One network, many ways to ask it: a scheduler decides at which noise levels the network is evaluated and how its "
        "answers are combined. One step is the model's best single guess, the same with every scheduler. More steps draw "
        "a sample step by step, which costs as many times the computing; whether it sounds better is for you to judge (About has measured scores). "
        f"Comparisons hear the first {limits.compare_seconds} s of the recording, at most {limits.max_comparisons} settings."
    )
    schedulers = gr.CheckboxGroup(list(SCHEDULERS), value=["ddim", "euler-ancestral"], label="Schedulers")
    with gr.Row():
        steps = gr.CheckboxGroup(STEPS, value=[1, 4], label="Steps")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0)
    with gr.Row():
        start = gr.Button("Compare", variant="primary", size="lg", elem_id="compare")
        cancel = gr.Button("Cancel", variant="stop", size="lg", elem_id="compare-cancel", interactive=False)
    status = gr.HTML(message("hint", COMPARE_HINT), elem_id="compare-status")
    table = gr.HTML("", elem_id="compare-table")
    player = gr.HTML(None, html_template="", js_on_load=script, elem_id="compare-player")
    event = {"fn": handlers.show_comparison, "inputs": [audio, schedulers, steps, seed, client], "js": TELL_CLIENT}
    wire(start.click, event, [status, player, table], start, cancel, handlers)


def wire(trigger, event: dict, outputs: list, start: gr.Button, cancel: gr.Button, handlers: Handlers) -> None:
    """`trigger` runs `event` with a progress bar over the first of `outputs`; `cancel` stops it."""
    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    status = outputs[0]
    busy = trigger(
        lambda: (gr.Button(interactive=False), gr.Button(interactive=True), ""), None, [start, cancel, status], **quiet
    )
    run = busy.then(
        **event,
        outputs=outputs,
        api_visibility="private",
        concurrency_id="model",
        show_progress_on=status,
        trigger_mode="once",
    )
    for ended in (run.then, run.failure):  # after a refusal Gradio follows only the second, else only the first
        ended(lambda: (gr.Button(interactive=True), gr.Button(interactive=False)), None, [start, cancel], **quiet)
    # a run that waits in the queue is taken out of it, one that computes is stopped
    cancel.click(handlers.cancel, None, [status, start, cancel], cancels=[run], **quiet)


def preset_labels() -> dict[str, str]:
    """What a preset is called on the page: its name and what it costs, or which other one it equals."""
    labels = {}
    for name, preset in PRESETS.items():
        count = preset.num_inference_steps * preset.num_estimates
        cost = f"{count} evaluation{'s' if count > 1 else ''}"
        same = next((other for other in labels if PRESETS[other] == preset), None)
        labels[name] = f"{name.capitalize()} ({f'same as {same}' if same else cost})"
    return labels


def intro(model: str | None, code_url: str | None) -> str:
    links = []
    if model and re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not Path(model).exists():
        links.append(f'<a href="https://huggingface.co/{model}">Model card</a>')
    if code_url and code_url.startswith("https://"):
        links.append(f'<a href="{code_url}">Code</a>')
    links = f"<p>{' · '.join(links)}</p>" if links else ""
    return f"""<h1>Speech enhancement by diffusion</h1>
<p>Turns down the noise in a recording of speech: a diffusion model says how much of every band is speech, and that is
applied as a gain. Nothing is invented; length, level, sampling rate and channels stay.</p>{links}"""


def privacy(limits: Limits) -> str:
    age = limits.delete_after_seconds
    age = f"{age // 60} minutes" if age >= 120 else f"{age} seconds"
    return f"""<p>Your recording goes to the computer that runs this page, is shown to nobody else, used for nothing else, and
deleted {age} later, with everything made from it. At most {limits.max_seconds} s and {limits.max_file_mb} MB.</p>"""


def about(limits: Limits) -> str:
    return f"""### Limits

At most {limits.max_seconds} s, {limits.max_file_mb} MB and {limits.max_channels} channels; WAV, FLAC, Ogg, Opus, MP3 or AIFF.
Other voices are mostly kept, reverberation and clipping stay, and words that noise has drowned get lost. Do not use it where
a lost word does harm without keeping the original.

"""


def model_card(model: str | None) -> str:
    """The card that lies beside the weights, without its front matter and pictures; empty for a model on the Hub."""
    card = Path(model or DEFAULT_CHECKPOINT) / "README.md"
    if not card.is_file():
        return ""
    text = re.sub(r"\A---\n.*?\n---\n", "", card.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
