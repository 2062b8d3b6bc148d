// What the page does in the browser beside Gradio: it judges files before they are sent, tells what a preset takes for this
// recording, says what was wrong where a visitor looks, and copies text.
window.speechPage = (() => {
  const MP4 = /\.(m4a|m4b|mp4|m4v|mov|3gp|3g2)$/i;
  const SOUND = /\.(wav|wave|flac|ogg|oga|opus|mp3|aif|aiff|aifc|au|snd|caf|w64|rf64|voc)$/i;
  const LONG = 30; // seconds, from which a preview is offered

  // What is wrong with a file, in a sentence; empty if it may be sent.
  function problem(file) {
    const { formats, megabytes } = document.querySelector("#intake-message").dataset;
    if (!/^(audio|video)\//.test(file.type) && !MP4.test(file.name) && !SOUND.test(file.name))
      return `“${file.name}” is no sound file. This page takes ${formats}.`;
    if (file.size > megabytes * 1e6)
      return `“${file.name}” has ${Math.ceil(file.size / 1e6)} MB; the limit of this page is ${megabytes} MB.`;
    return "";
  }

  function tell(text) {
    const place = document.querySelector("#intake-message");
    place.textContent = text;
    place.hidden = !text;
  }

  // Gradio refuses what the browser does not call audio: a video with sound, or an ending that the system does not know.
  function asAudio(file) {
    if (file.type.startsWith("audio/")) return file;
    return new File([file], file.name, { type: MP4.test(file.name) ? "audio/mp4" : "audio/x-unknown" });
  }

  function give(input, file) {
    const transfer = new DataTransfer();
    transfer.items.add(file);
    input.files = transfer.files;
  }

  function take(event, file, input) {
    const wrong = problem(file);
    tell(wrong);
    const audio = asAudio(file);
    if (!wrong && audio === file) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (wrong) input.value = "";
    else {
      give(input, audio);
      input.dispatchEvent(new Event("change", { bubbles: true }));
    }
  }

  const inRecording = (event) => event.target.closest?.("#recording");
  document.addEventListener("change", (event) => {
    if (inRecording(event) && event.target.type === "file" && event.target.files[0])
      take(event, event.target.files[0], event.target);
  }, true);
  document.addEventListener("drop", (event) => {
    const input = inRecording(event)?.querySelector("input[type=file]");
    if (input && event.dataTransfer.files[0]) take(event, event.dataTransfer.files[0], input);
  }, true);

  // Seconds of a recording, as far as this browser can play it; else null.
  function duration(audio) {
    if (!audio?.url) return Promise.resolve(null);
    return new Promise((resolve) => {
      const probe = new Audio();
      const end = () => resolve(Number.isFinite(probe.duration) ? probe.duration : null);
      probe.addEventListener("loadedmetadata", end);
      probe.addEventListener("error", end);
      setTimeout(end, 4000);
      probe.preload = "metadata";
      probe.src = audio.url;
    });
  }

  function about(seconds) {
    if (seconds < 1) return "under 1 s";
    if (seconds < 90) return `about ${Math.round(seconds)} s`;
    return `about ${Math.round(seconds / 60)} min`;
  }

  // New labels of the presets, `[name, title, purpose, evaluations]` each, and whether to offer a preview.
  async function presets(all, audio, speeds, model) {
    const seconds = await duration(audio);
    const speed = JSON.parse(speeds || "{}")[model];
    const choices = all.map(([name, title, purpose, evaluations]) => {
      const cost = speed && seconds ? about(0.5 + seconds * evaluations * speed) : purpose;
      return [`${title}\n${cost}`, name];
    });
    return [{ __type__: "update", choices }, { __type__: "update", visible: seconds > LONG }];
  }

  // The name of the preset that consists of these `parts`, null if none does.
  function presetOf(all, parts) {
    const same = ([, own]) => own.every((value, place) => value === parts[place]);
    return Object.entries(all).find(same)?.[0] ?? null;
  }

  // The dial for reverberation: shown for the models `known`, and `off` for any other.
  function dial(known, model, off) {
    const has = known.includes(model);
    return has ? { __type__: "update", visible: true } : { __type__: "update", visible: false, value: off };
  }

  // The sentence with which Gradio reports an error in a corner, as the message of a status.
  async function refusal() {
    let toast = null;
    for (let tries = 0; tries < 20 && !toast; tries++) {
      toast = [...document.querySelectorAll('[data-testid="toast-text"]')].at(-1);
      if (!toast) await new Promise((resolve) => setTimeout(resolve, 25));
    }
    const place = document.createElement("p");
    place.className = "message error";
    place.setAttribute("role", "alert");
    place.textContent = toast?.textContent.trim() || "This did not work. Try again.";
    toast?.closest('[data-testid="toast-body"], .toast-body')?.querySelector("button")?.click();
    return place.outerHTML;
  }

  // What a handler learns of the browser: the width of the result in pixels, and light or dark.
  function client(selector) {
    const mode = document.body.classList.contains("dark") ? "dark" : "light";
    return `${document.querySelector(selector).clientWidth},${mode}`;
  }

  async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea"); // a page without https has no clipboard
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = button.dataset.copy;
    await copy(source.startsWith("#") ? document.querySelector(source).textContent : source);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
  });

  // The calls to copy name this server, once they are in the page.
  new MutationObserver(() => {
    for (const code of document.querySelectorAll("code[id^=code-]"))
      if (code.textContent.includes("SERVER"))
        code.textContent = code.textContent.replace("SERVER", location.origin + location.pathname.replace(/\/$/, ""));
  }).observe(document.documentElement, { childList: true, subtree: true });

  return { presets, presetOf, dial, refusal, client };
})();
