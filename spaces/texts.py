"""Texts of the page, for visitors who have never heard of diffusion and for those who call it from a program."""

import html
import re
from pathlib import Path

from serving import Limits, formats

CARD = "speech_enhance/checkpoints/base/README.md"  # in the code's repository

PYTHON = """from gradio_client import Client, handle_file

client = Client("SERVER")
enhanced, facts = client.predict(
    audio=handle_file("noisy.wav"), api_name="/enhance")
print(enhanced, facts)"""

CURL = r"""server=SERVER/gradio_api
path=$(curl -s -F files=@noisy.wav $server/upload | cut -d'"' -f2)
file="{\"path\": \"$path\", \"meta\": {\"_type\": \"gradio.FileData\"}}"
event=$(curl -s $server/call/v2/enhance -d "{\"audio\": $file}" | cut -d'"' -f4)
url=$(curl -s $server/call/enhance/$event | grep -o '"url": *"[^"]*"' | head -1 | cut -d'"' -f4)
curl -s -o enhanced.wav "$url"
"""

DIAGRAM = """<svg class="diagram" viewBox="0 0 640 118" role="img" aria-label="The recording becomes a mel spectrogram.
The diffusion model estimates from it, and from noise, how much of every band is speech. That is the gain with which the
recording is multiplied: the result.">
<g class="box"><rect x="1" y="36" width="112" height="46" rx="8"/><rect x="150" y="36" width="112" height="46" rx="8"/>
<rect class="model" x="299" y="36" width="140" height="46" rx="8"/><rect x="527" y="36" width="112" height="46"
rx="8"/></g> <g class="line"><path d="M113 59H142M262 59H291M439 59H466M492 59H519"/><path d="M57 36V12H479V45"/><path
d="M369 112V90"/></g> <g class="tip"><path d="M150 59l-9-5v10zM299 59l-9-5v10zM527 59l-9-5v10zM369 82l-5 9h10z"/></g>
<circle class="box" cx="479" cy="59" r="13"/>
<g class="text"><text x="57" y="64">original</text><text x="206" y="55">mel</text><text x="206"
y="72">spectrogram</text> <text x="369" y="64">diffusion model</text><text x="583" y="64">enhanced</text><text x="479"
y="65">×</text> <text x="479" y="90" class="small">gain</text><text x="330" y="108"
class="small">noise</text></g></svg>"""


def intro(model: str | None, code_url: str | None, space: str | None) -> str:
    """Return the head of the page. `space` is the name of the Space in which the page runs."""
    links = ['<button type="button" class="hear" data-hear>▶ Hear an example</button>']
    card = card_url(model, code_url)
    if card:
        links.append(f'<a href="{html.escape(card)}">Model card</a>')
    if code_url and code_url.startswith("https://"):
        links.append(f'<a href="{html.escape(code_url)}">Code</a>')
    if space and is_hub_id(space):
        address = f"https://huggingface.co/spaces/{space}"
        links.append(f'<button type="button" class="plain" data-copy="{address}">Copy link to this page</button>')
    return f"""<div class="words"><h1>Speech enhancement by diffusion</h1>
<p>Turns down the noise in a recording of speech. Nothing is invented; length, level, sampling rate and channels
stay.</p> </div><nav>{"".join(links)}</nav>"""


def card_url(model: str | None, code_url: str | None) -> str | None:
    """Return the address of the model card, if there is one on the web."""
    if model and is_hub_id(model) and not Path(model).exists():
        return f"https://huggingface.co/{model}"
    if not model and code_url and code_url.startswith("https://"):
        return f"{code_url.rstrip('/')}/blob/main/{CARD}"
    return None


def is_hub_id(name: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name))


def privacy(limits: Limits) -> str:
    age = limits.delete_after_seconds
    age = f"{age // 60} minutes" if age >= 120 else f"{age} seconds"
    return f"""<p>Your recording goes to the computer that runs this page. It is shown to nobody else, used for nothing
    else and
deleted after {age}. At most {length(limits.max_seconds)} and {limits.max_file_mb} MB.</p>"""


def length(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds >= 120 and seconds % 60 == 0 else f"{seconds} s"


def intake(limits: Limits) -> str:
    """Return the element in which the page's script says what is wrong with a file that a visitor has chosen."""
    return f"""<p id="intake-message" class="message error" role="alert" hidden data-formats="{formats()}"
data-megabytes="{limits.max_file_mb}"></p>"""


def live_intro() -> str:
    return """<p>Speak, and hear yourself without the noise. <b>Use headphones</b>: with a loudspeaker the microphone
hears the page again, and it howls. The delay of the model is always the same; the browser, the network and the server
add theirs, which is shown while it runs.</p>"""


def live_controls() -> str:
    """Return the elements that the script of the live tab uses."""
    return """<section class="live" aria-label="Live">
<div class="bar"><button type="button" class="live-start">Start</button>
<label><input type="checkbox" class="live-bypass"> Hear the original</label></div>
<p class="live-status message hint" role="status">Press Start, and allow the microphone.</p>
<div class="meters"><label>Microphone <meter class="live-in" min="0" max="1" value="0"></meter></label>
<label>Headphones <meter class="live-out" min="0" max="1" value="0"></meter></label></div>
<dl><div><dt>Model</dt><dd class="live-model">–</dd></div>
<div><dt>Browser, network, server</dt><dd class="live-way">–</dd></div>
<div><dt>Delay in all</dt><dd class="live-sum">–</dd></div></dl>
<p class="note live-more"></p></section>"""


def live_privacy(limits: Limits) -> str:
    return f"""<p>The sound goes to the computer that runs this page and comes back. Nothing of it is stored, there or
here. A session takes at most {length(limits.live_seconds)}; places for visitors: {limits.max_live}.</p>"""


def about(limits: Limits, model: str | None, code_url: str | None) -> str:
    card = card_url(model, code_url)
    link = f'<a href="{html.escape(card)}">model card</a>' if card else f"model card (<code>{CARD}</code> in the code)"
    return f"""<article class="about"><h2>What it does</h2>
<p>A neural network listens to the recording in many narrow bands and estimates, several times a second, how much of
each band is speech. Everything else is turned down. The sound that you hear is always that of your recording, only
quieter in places; nothing is generated.</p>{DIAGRAM}
<p>The network is a diffusion model: it starts from random noise and removes it, guided by your recording. One run gives
one estimate. <em>Fast</em> takes one; <em>Balanced</em> averages three, which costs three times the computing.</p>
<h2>What it does not do</h2>
<ul><li>Other voices are mostly kept. Clipping stays, and so does reverberation unless you ask for less of it.</li>
<li>Words that noise has drowned get lost. Keep the original where a lost word does harm.</li>
<li>Music counts as noise.</li></ul>
<h2>What it takes</h2>
<p>{formats()}, at most {length(limits.max_seconds)}, {limits.max_file_mb} MB and {limits.max_channels} channels. The
command line of the package has no such limits.</p>
<p>How it was trained and measured, and where it fails, is in the {link}.</p></article>"""


def snippets() -> str:
    """Return calls of the API to copy. The page's script writes the server's address into them."""
    parts = ["<p>The page is an API too. Replace <code>noisy.wav</code> by your file.</p>"]
    for key, name, code in (("python", "Python: pip install gradio_client", PYTHON), ("curl", "Shell: curl", CURL)):
        parts.append(
            f'<div class="snippet"><div><b>{name}</b><button type="button" class="plain" '
            f'data-copy="#code-{key}">Copy</button>'
            f'</div><pre tabindex="0" aria-label="{name}"><code id="code-{key}">{html.escape(code)}</code></pre></div>'
        )
    parts.append(
        "<p>Further arguments and their defaults: <code>scheduler</code> ddim, <code>num_inference_steps</code> 1, "
        "<code>num_estimates</code> 3, <code>seed</code> 0, <code>attenuation_limit_db</code> 60 (no limit), "
        "<code>mix</code> 1, <code>dereverb</code> 0.</p>"
    )
    return f'<article class="about">{"".join(parts)}</article>'
