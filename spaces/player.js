// Several versions of one recording that play together, one of them heard: switching keeps the position.
// Runs when the component is mounted, with `element`, `props` and `watch` from Gradio.
const MAX_DRIFT = 0.03; // seconds between the silent versions and the one that is heard

let player = null;

function build(value) {
  player?.stop();
  player = null;
  element.replaceChildren();
  if (!value?.tracks) return;

  const root = document.createElement("section");
  root.className = "player";
  root.setAttribute("aria-label", "Compare by ear");
  const audios = value.tracks.map((track) => {
    const audio = new Audio(track.file.url);
    audio.preload = "auto";
    return audio;
  });
  let current = value.tracks.length - 1;
  let frame = 0;
  const heard = () => audios[current];
  const duration = value.duration;

  const choices = document.createElement("div");
  choices.className = "choices";
  choices.setAttribute("role", "radiogroup");
  choices.setAttribute("aria-label", "Version that is heard");
  const buttons = value.tracks.map((track, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = track.label;
    button.setAttribute("role", "radio");
    button.addEventListener("click", () => choose(index));
    choices.append(button);
    return button;
  });

  const transport = document.createElement("div");
  transport.className = "transport";
  const play = document.createElement("button");
  play.type = "button";
  play.className = "play";
  play.addEventListener("click", () => (heard().paused ? start() : stop()));
  const position = document.createElement("input");
  Object.assign(position, { type: "range", min: 0, max: duration, step: 0.01, value: 0 });
  position.setAttribute("aria-label", "Position in seconds");
  position.addEventListener("input", () => seek(Number(position.value)));
  const clock = document.createElement("span");
  clock.className = "clock";
  transport.append(play, position, clock);

  const figure = document.createElement("figure");
  const image = document.createElement("img");
  image.src = value.picture.url;
  image.alt = value.alt;
  figure.append(image);
  const head = document.createElement("div");
  if (value.span) {
    head.className = "playhead";
    figure.append(head);
    image.addEventListener("click", (event) => {
      const box = image.getBoundingClientRect();
      const share = ((event.clientX - box.left) / box.width - value.span[0]) / (value.span[1] - value.span[0]);
      if (share >= 0 && share <= 1) seek(share * duration);
    });
  }
  const note = document.createElement("p");
  note.className = "note";
  note.textContent = value.note;
  root.append(choices, transport, note, figure, ...audios);
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

  function choose(index, focus = false) {
    const time = heard().currentTime;
    const playing = !heard().paused;
    current = index;
    audios.forEach((audio, i) => (audio.muted = i !== current));
    if (Math.abs(heard().currentTime - time) > MAX_DRIFT) heard().currentTime = time;
    if (playing && heard().paused) heard().play();
    buttons.forEach((button, i) => {
      button.setAttribute("aria-checked", String(i === current));
      button.tabIndex = i === current ? 0 : -1;
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

  function tick() {
    const time = heard().currentTime;
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
    if (value.span) head.style.left = `${100 * (value.span[0] + ((value.span[1] - value.span[0]) * time) / duration)}%`;
  }

  audios.forEach((audio, index) => audio.addEventListener("ended", () => index === current && stop()));
  choose(current);
  show(0);
  player = { stop };
}

function minutes(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

build(props.value);
watch("value", () => {
  build(props.value);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (player) element.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
});
