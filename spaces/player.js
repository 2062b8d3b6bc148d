// Several versions of one recording that play together, one of them heard: switching keeps the position.
// Runs when the component is mounted, with `element`, `props` and `watch` from Gradio.
const MAX_DRIFT = 0.03; // seconds between the silent versions and the one that is heard
const NARROW = 600; // pixels; as in results.py

let player = null;

function tag(name, className, parent, attributes = {}) {
  const made = document.createElement(name);
  made.className = className;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

// A waveform that takes the colour of its lane.
function waveform(peaks, parent) {
  const top = peaks.map((peak, index) => `L${index},${100 - Math.max(peak, 1)}`).join("");
  const bottom = peaks.map((peak, index) => `L${index},${100 + Math.max(peak, 1)}`).reverse().join("");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", `0 0 ${Math.max(peaks.length - 1, 1)} 200`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", `M0,100${top}${bottom}Z`);
  svg.append(path);
  parent.append(svg);
}

// A ready-made result has a picture for every page; others have one for the page that asked for it.
function pictureOf(value) {
  if (!value.pictures) return { ...value.picture, url: value.picture.file.url };
  const size = window.innerWidth < NARROW ? "narrow" : "wide";
  return value.pictures[`${size}-${document.body.classList.contains("dark") ? "dark" : "light"}`];
}

function build(value) {
  player?.stop();
  player = null;
  element.replaceChildren();
  if (!value?.tracks) return;

  const { tracks, duration } = value;
  const picture = pictureOf(value);
  const root = tag("section", "player", null, { "aria-label": "Compare by ear" });
  const audios = tracks.map((track) => {
    const audio = new Audio(track.file.url);
    audio.preload = "auto";
    return audio;
  });
  let current = Math.min(1, tracks.length - 1);
  let frame = 0;
  let halfway = false; // whether to change over from the first version to the second in the middle
  const heard = () => audios[current];

  const bar = tag("div", "bar", root);
  const play = tag("button", "play", bar, { type: "button" });
  play.addEventListener("click", () => (heard().paused ? start() : stop()));
  const choices = tag("div", "choices", bar, { role: "radiogroup", "aria-label": "Version that is heard" });
  const buttons = tracks.map((track, index) => {
    const button = tag("button", "", choices, { type: "button", role: "radio" });
    button.textContent = track.label;
    if (index < 9) tag("kbd", "", button, { "aria-hidden": "true" }).textContent = String(index + 1);
    button.setAttribute("aria-label", track.label);
    button.addEventListener("click", () => choose(index));
    return button;
  });

  const transport = tag("div", "transport", root);
  const position = tag("input", "", transport, { type: "range", min: 0, max: duration, step: 0.01, value: 0 });
  position.setAttribute("aria-label", "Position in seconds");
  position.addEventListener("input", () => seek(Number(position.value)));
  const clock = tag("span", "clock", transport);

  const stack = tag("div", "stack", root);
  const lanes = tag("div", "lanes", stack);
  const [left, right] = picture.span ?? [0, 1];
  lanes.style.marginLeft = `${100 * left}%`;
  lanes.style.marginRight = `${100 * (1 - right)}%`;
  const rows = tracks.map((track, index) => {
    const lane = tag("div", "lane", lanes);
    tag("span", "", lane, { "aria-hidden": "true" }).textContent = track.label;
    waveform(track.peaks, lane);
    lane.addEventListener("click", (event) => {
      choose(index);
      seekTo(event, lane, 0, 1);
    });
    return lane;
  });
  const figure = tag("figure", "", stack);
  const image = tag("img", "", figure, { src: picture.url, alt: value.alt });
  if (picture.span) image.addEventListener("click", (event) => seekTo(event, image, left, right));
  const head = tag("div", "playhead", picture.span ? stack : lanes);
  tag("p", "note", root).textContent = value.title ? `${value.title}. ${value.note}` : value.note;
  root.append(...audios);
  element.append(root);

  root.addEventListener("keydown", (event) => {
    const index = Number(event.key) - 1;
    if (index >= 0 && index < audios.length) choose(index, true);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step && choices.contains(event.target)) {
      event.preventDefault();
      choose((current + step + audios.length) % audios.length, true);
    }
  });

  function seekTo(event, target, from, to) {
    const box = target.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width - from) / (to - from);
    if (share >= 0 && share <= 1) seek(share * duration);
  }

  function choose(index, focus = false) {
    const time = heard().currentTime;
    const playing = !heard().paused;
    current = index;
    halfway = false;
    audios.forEach((audio, i) => (audio.muted = i !== current));
    if (Math.abs(heard().currentTime - time) > MAX_DRIFT) heard().currentTime = time;
    if (playing && heard().paused) heard().play();
    buttons.forEach((button, i) => {
      button.setAttribute("aria-checked", String(i === current));
      button.tabIndex = i === current ? 0 : -1;
      rows[i].classList.toggle("heard", i === current);
    });
    if (focus) buttons[current].focus();
  }

  function seek(time) {
    audios.forEach((audio) => (audio.currentTime = time));
    show(time);
  }

  function start() {
    if (heard().currentTime >= duration - 0.05) seek(0);
    audios.forEach((audio) => audio.play().catch(() => {}));
    tick();
  }

  function stop() {
    audios.forEach((audio) => audio.pause());
    cancelAnimationFrame(frame);
    show(heard().currentTime);
  }

  // The first version up to the middle, then the second.
  function demonstrate() {
    choose(0);
    seek(0);
    halfway = true;
    start();
  }

  function tick() {
    cancelAnimationFrame(frame);
    const time = heard().currentTime;
    if (halfway && time > duration / 2) choose(1);
    audios.forEach((audio, i) => {
      if (i !== current && Math.abs(audio.currentTime - time) > 2 * MAX_DRIFT) audio.currentTime = time;
    });
    show(time);
    if (root.isConnected) frame = requestAnimationFrame(tick);
    else stop();
  }

  function show(time) {
    position.value = time;
    clock.textContent = `${minutes(time)} / ${minutes(duration)}`;
    const paused = heard().paused;
    play.textContent = paused ? "▶ Play" : "❚❚ Pause";
    play.setAttribute("aria-label", paused ? "Play" : "Pause");
    const [from, to] = picture.span ?? [0, 1];
    head.style.left = `${100 * (from + ((to - from) * time) / duration)}%`;
  }

  audios.forEach((audio, index) => audio.addEventListener("ended", () => index === current && stop()));
  choose(current);
  show(0);
  player = { stop, demonstrate };
}

function minutes(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function scrollHere(block) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block, behavior: calm ? "auto" : "smooth" });
}

build(props.value);
watch("value", () => {
  build(props.value);
  if (player) scrollHere(window.innerWidth < NARROW ? "start" : "nearest");
});
if (element.closest("#player"))
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-hear]")) return;
    scrollHere("nearest");
    player?.demonstrate();
  });
