// Live sound: the microphone goes to the server in pieces, and what comes back is played at once. A piece is sent when the
// answer to the last one is there, with all that was spoken meanwhile, so none is lost and none overtakes another.
// Runs when the component is mounted, with `element`, `props` and `trigger` from Gradio.
const RESERVE = 0.08; // seconds in stock before the sound begins, and again after a gap
const SHORTEST = 0.05; // seconds of one piece
const LONGEST = 0.95; // the server takes a second
const TOO_LATE = 4; // seconds that wait to be sent: the connection cannot carry live sound
const HIGHEST_RATE = 48000;

// In the thread of the sound: takes the microphone, and plays what is in stock. Both have one clock, so the stock never runs
// away; where it was empty, the sound is later from then on, until the stock was too large for some seconds.
const LINE = `registerProcessor("line", class extends AudioWorkletProcessor {
  constructor({ processorOptions: { channels, reserve, block } }) {
    super();
    Object.assign(this, { channels, reserve, block, longest: sampleRate });
    this.parts = [];
    this.at = this.stock = this.played = this.gaps = this.since = 0;
    this.least = Infinity;
    this.playing = false;
    this.begin();
    this.port.onmessage = ({ data }) => {
      this.least = Math.min(this.least, this.stock);
      this.parts.push(data);
      this.stock += data[0].length;
    };
  }
  begin() {
    this.taken = Array.from({ length: this.channels }, () => new Float32Array(this.block));
    this.filled = 0;
  }
  process([input], [output]) {
    const length = output[0].length;
    for (let channel = 0; channel < this.channels; channel++)
      if (input[channel]) this.taken[channel].set(input[channel], this.filled);
    this.filled += length;
    if (this.filled + length > this.block) {
      const sound = this.taken.map((taken) => taken.slice(0, this.filled));
      this.port.postMessage({ sound, played: this.played, gaps: this.gaps, playing: this.playing });
      this.begin();
    }
    this.play(output, length);
    return true;
  }
  play(output, length) {
    if (!this.playing && this.stock < Math.max(this.reserve, length)) return;
    if (this.stock < length) {
      this.gaps += 1;
      this.reserve = Math.min(this.reserve * 1.5, this.longest);
      this.playing = false;
      return;
    }
    this.playing = true;
    this.read(output, length, (one, two) => two);
    this.since += length;
    if (this.since < 2 * sampleRate) return;
    if (this.least > this.reserve && this.least < Infinity) this.skip(output, length);
    this.least = Infinity;
    this.since = 0;
  }
  skip(output, length) {
    let surplus = Math.floor((this.least - this.reserve / 2) / length) * length;
    for (; surplus > length && this.stock > length; surplus -= length) this.read([], length);
    this.read(output, length, (one, two, share) => one * (1 - share) + two * share);
  }
  read(output, length, join) {
    for (let index = 0; index < length; index++) {
      for (let channel = 0; channel < output.length; channel++) {
        const sound = this.parts[0][Math.min(channel, this.channels - 1)][this.at];
        output[channel][index] = join(output[channel][index], sound, index / length);
      }
      if (++this.at === this.parts[0][0].length) {
        this.parts.shift();
        this.at = 0;
      }
    }
    this.stock -= length;
    this.played += length;
  }
});`;

const REFUSALS = {
  NotAllowedError: "The microphone was refused. Allow it for this page in the browser, then press Start again.",
  NotFoundError: "No microphone was found. Plug one in, then press Start again.",
  NotReadableError: "The microphone cannot be read: perhaps another program uses it.",
};

const find = (name) => element.querySelector(`.live-${name}`);
let run = null; // what is going on: null, or the session from the press of Start to its end

function tell(text, kind = "hint") {
  const place = find("status");
  if (place.textContent === text) return;
  place.className = `live-status message ${kind}`;
  place.textContent = text;
}

function encode(sound) {
  const channels = sound.length, samples = new Int16Array(sound[0].length * channels);
  sound.forEach((one, channel) => one.forEach((value, index) => {
    samples[index * channels + channel] = Math.round(Math.max(-1, Math.min(1, value)) * 32767);
  }));
  const bytes = new Uint8Array(samples.buffer);
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  return btoa(text);
}

function decode(text, channels) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), samples = new Int16Array(bytes.buffer);
  return Array.from({ length: channels }, (_, channel) =>
    Float32Array.from({ length: samples.length / channels }, (_, index) => samples[index * channels + channel] / 32768));
}

const peak = (sound) => sound.reduce((most, one) => one.reduce((top, value) => Math.max(top, Math.abs(value)), most), 0);

// Shows the largest sample of the last tenth of a second as a level from -60 dB to full scale.
function meter(name, sound) {
  const now = performance.now(), meters = run.meters, top = Math.max(peak(sound), meters[name]?.top || 0);
  if (now - (meters[name]?.since || 0) < 100) return void (meters[name].top = top);
  meters[name] = { top: 0, since: now };
  find(name).value = Math.max(0, 1 + Math.log10(Math.max(top, 1e-9)) / 3);
}

// The blocks that wait, up to the longest piece, as one.
function piece() {
  const blocks = [];
  let length = 0;
  while (run.blocks.length && length + run.blocks[0][0].length <= LONGEST * run.rate) {
    blocks.push(run.blocks.shift());
    length += blocks.at(-1)[0].length;
  }
  run.waiting -= length;
  return Array.from({ length: run.channels }, (_, channel) => {
    const joined = new Float32Array(length);
    blocks.reduce((start, block) => (joined.set(block[channel], start), start + block[channel].length), 0);
    return joined;
  });
}

function send(marks) {
  const { rate, channels } = run;
  run.asked = performance.now();
  run.busy = true;
  const audio = marks ? "" : encode(piece());
  props.value = { audio, rate, channels, bypass: find("bypass").checked, ...marks, number: run.number++ };
  trigger("stream");
}

function go_on() {
  if (!run || run.busy || !run.node) return;
  if (run.ending) send({ last: true });
  else if (run.waiting >= SHORTEST * run.rate) send();
}

function hear({ data: { sound, played, gaps, playing } }) {
  if (!run?.open || run.ending) return;
  meter("in", sound);
  run.blocks.push(sound);
  run.waiting += sound[0].length;
  run.captured += sound[0].length;
  if (run.waiting > TOO_LATE * run.rate)
    return finish("The way to the server and back takes too long for live sound. Try another connection.", "error");
  if (playing) show((1000 * (run.captured - played)) / run.rate, gaps);
  go_on();
}

// The delay: what the model needs, and what the sound waits elsewhere, which the stock of samples tells exactly.
function show(way, gaps) {
  const now = performance.now();
  if (now - run.shown < 400) return;
  run.shown = now;
  const { delay_ms, server_ms, load } = run.facts, { outputLatency = 0, baseLatency = 0 } = run.context;
  const devices = 1000 * (outputLatency + baseLatency);
  find("model").textContent = `${Math.round(delay_ms)} ms`;
  find("way").textContent = `${Math.round(way)} ms`;
  find("sum").textContent = `${Math.round(delay_ms + way)} ms`;
  find("more").textContent =
    `The server took ${Math.round(server_ms)} ms for the last piece; its load is ${Math.round(100 * load)} %. ` +
    (devices ? `The sound device adds about ${Math.round(devices)} ms. ` : "") + `Gaps: ${gaps}.`;
  element.dataset.facts = JSON.stringify({ delay_ms, server_ms, load, way_ms: way, devices_ms: devices, gaps });
}

function answer(value) {
  if (value?.refused) {
    const text = new DOMParser().parseFromString(value.refused, "text/html").body.textContent;
    return run && finish(text, "error", false);
  }
  if (!run || !value) return;
  run.busy = false;
  if (value.end) return finish(run.ending || value.end);
  run.facts = value;
  run.open = true;
  if (value.audio) {
    const sound = decode(value.audio, run.channels);
    meter("out", sound);
    run.node.port.postMessage(sound);
  }
  if (value.slow) tell("The server is too slow at the moment: you hear the original. It tries again in some seconds.", "error");
  else if (find("bypass").checked) tell("You hear the original, with the same delay.");
  else if (!run.ending) tell("Speak: you hear yourself without the noise.", "done");
  go_on();
}

function stop(text = "Stopped.") {
  if (!run) return;
  if (!run.open) return finish(text);
  run.ending = text;
  run.stream.getTracks().forEach((track) => track.stop());
  const ended = run;
  setTimeout(() => run === ended && finish(text), 3000); // if no answer comes
  go_on();
}

function finish(text, kind = "hint", close = true) {
  const { stream, context } = run;
  run = null;
  stream?.getTracks().forEach((track) => track.stop());
  context.close();
  if (close) trigger("close_stream");
  find("start").textContent = "Start";
  find("in").value = find("out").value = 0;
  tell(text, kind);
}

async function start() {
  const context = new AudioContext({ latencyHint: "interactive" });
  const mine = (run = { context, blocks: [], waiting: 0, captured: 0, number: 0, shown: 0, facts: {}, meters: {} });
  find("start").textContent = "Stop";
  tell("Waiting for the microphone …");
  try {
    if (!navigator.mediaDevices || !context.audioWorklet) throw new Error("insecure");
    const audio = { noiseSuppression: false, autoGainControl: false, echoCancellation: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    if (run !== mine) return stream.getTracks().forEach((track) => track.stop());
    run.stream = stream;
    await connect(stream.getAudioTracks()[0]);
    if (run !== mine) return;
    tell("Waiting for the server …");
    send({ first: true });
  } catch (error) {
    if (run !== mine) return;
    const insecure = "The browser gives a microphone only to a page with https, or on this computer.";
    finish(error.message === "insecure" ? insecure : REFUSALS[error.name] || `No sound: ${error.message}`, "error", false);
  }
}

async function connect(track) {
  if (run.context.sampleRate > HIGHEST_RATE) {
    run.context.close();
    run.context = new AudioContext({ latencyHint: "interactive", sampleRate: HIGHEST_RATE });
  }
  const { context, stream } = run, mine = run;
  const channels = Math.min(track.getSettings().channelCount || 1, 2);
  Object.assign(run, { channels, rate: context.sampleRate });
  track.addEventListener("ended", () => run === mine && stop("The microphone has gone. Plug it in, then press Start again."));
  const module = URL.createObjectURL(new Blob([LINE], { type: "text/javascript" }));
  await context.audioWorklet.addModule(module);
  URL.revokeObjectURL(module);
  await context.resume();
  if (run !== mine) return;
  const node = new AudioWorkletNode(context, "line", {
    channelCount: channels, channelCountMode: "explicit", outputChannelCount: [channels],
    processorOptions: { channels, reserve: Math.round(RESERVE * context.sampleRate), block: 512 },
  });
  node.port.onmessage = hear;
  run.node = node;
  context.createMediaStreamSource(stream).connect(node);
  node.connect(context.destination);
}

find("start").addEventListener("click", () => (run ? stop() : start()));
window.speechLive = { answer };
