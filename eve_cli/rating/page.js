
"use strict";
const PLAYED = 0.9;   // share of each video to play before answers are enabled
const DRIFT = 0.06;   // seconds that videos may be out of sync
const $ = (id) => document.getElementById(id);
const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;
const make = (tag, text = "", kind = "") => {
  const node = document.createElement(tag);
  node.textContent = text;
  if (kind) node.className = kind;
  return node;
};
const show = (name) => ["welcome", "trial", "end"].forEach((id) => { $(id).hidden = id !== name; });

// Plays all videos in sync with the longest one; a shorter one waits on its last frame.
class Clock {
  constructor(videos, fps, changed) {
    Object.assign(this, { videos, fps, changed, rounds: 0, failed: false, shouldPlay: true, speed: 1 });
    this.ready = Promise.all(videos.map((video) => new Promise((done, fail) => {
      video.addEventListener("canplaythrough", done, { once: true });
      video.addEventListener("error", fail, { once: true });
      video.load();
    })));
    this.ready.then(() => this.begin(), () => { this.failed = true; this.changed(); });
  }

  begin() {
    this.lead = this.videos.reduce((a, b) => (b.duration > a.duration ? b : a));
    this.play();
    this.frame = requestAnimationFrame(() => this.hold());
  }

  end() { cancelAnimationFrame(this.frame); this.videos.forEach((video) => video.pause()); this.lead = null; }

  get playing() { return Boolean(this.lead) && !this.lead.paused; }

  get seen() {
    return Boolean(this.lead) && this.rounds > 0 && this.videos.every((video) => {
      let sum = 0;
      for (let n = 0; n < video.played.length; n++) sum += video.played.end(n) - video.played.start(n);
      return sum >= PLAYED * video.duration - 0.1;
    });
  }

  play() {
    this.shouldPlay = true;
    if (!this.lead) return;
    const time = this.lead.currentTime;
    for (const video of this.videos) {
      video.playbackRate = this.speed;
      if (time < video.duration) video.play().catch(() => { this.shouldPlay = false; this.changed(); });
    }
    this.changed();
  }

  pause() { this.shouldPlay = false; this.videos.forEach((video) => video.pause()); this.changed(); }

  seek(time) { this.videos.forEach((video) => { video.currentTime = Math.min(time, video.duration); }); }

  restart() { this.seek(0); this.play(); }

  step(frames) {
    if (!this.lead) return;
    this.pause();
    const last = Math.max(0, Math.round(this.lead.duration * this.fps) - 1);
    const at = Math.floor(this.lead.currentTime * this.fps + 1e-3) + frames;
    this.seek((Math.min(Math.max(at, 0), last) + 0.5) / this.fps);
  }

  slow() { this.speed = this.speed === 1 ? 0.5 : 1; this.videos.forEach((video) => { video.playbackRate = this.speed; }); }

  hold() {
    if (!this.lead) return;
    if (this.lead.ended && this.shouldPlay) {
      this.rounds += 1;
      this.restart();
    } else if (this.playing) {
      const time = this.lead.currentTime;
      for (const video of this.videos) {
        if (video === this.lead || video.seeking || time >= video.duration - DRIFT) continue;
        if (video.paused) video.play().catch(() => {});
        if (Math.abs(video.currentTime - time) > DRIFT) video.currentTime = time;
      }
    }
    this.frame = requestAnimationFrame(() => this.hold());
  }
}

let state = null, clock = null, busy = false, enabled = false, since = 0, blurs = 0, trouble = "";

async function call(path, body) {
  const reply = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  const result = await reply.json();
  if (reply.status === 409) return result.state;
  if (!reply.ok) throw new Error(result.error);
  return result;
}

async function send(path, more) {
  if (busy || !state) return;
  wait(true);
  trouble = "";
  try {
    draw(await call(path, { rater: state.rater, trial: state.trial && state.trial.id, ...more }));
  } catch (error) {
    trouble = error instanceof TypeError ? "No reply from the server. Your earlier answers are saved; try again." : error.message;
    if (state.trial) ask();
    else $("message").textContent = trouble;
  }
  wait(false);
}

function wait(now) {
  busy = now;
  $("answer").setAttribute("aria-busy", String(now));
}

function answer(choice) {
  if (!enabled || !state.choices.includes(choice)) return;
  const chosen = $("choices").querySelector(`[data-choice="${choice}"]`);
  if (chosen) chosen.classList.add("chosen");
  send("answer", {
    question: state.question, choice, rt_ms: Math.round(performance.now() - since), replays: clock.rounds, blurs,
    width: innerWidth, height: innerHeight,
  });
}

function draw(next) {
  const before = state && state.trial && state.trial.id;
  state = next;
  if (!state.trial) return finish("Done. Thank you!", "All your answers are saved. You can close this page.");
  show("trial");
  $("progress").max = state.total;
  $("progress").value = state.done;
  $("position").textContent = `${state.done + 1} of ${state.total}`;
  $("undo").disabled = !state.undo;
  if (state.trial.id !== before || !clock) stage(state.trial);
  since = performance.now();
  ask();
}

function stage(trial) {
  if (clock) clock.end();
  blurs = 0;
  enabled = false;
  $("caption").textContent = trial.caption;
  $("instruction").textContent = trial.instruction;
  $("slow").setAttribute("aria-pressed", "false");
  const figures = trial.edits.map((path, n) => {
    const figure = make("figure"), video = make("video");
    Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: path });
    figure.append(video, make("figcaption", state.scores ? "Edited" : String(n + 1)));
    return figure;
  });
  $("edits").replaceChildren(...figures);
  const source = $("source").querySelector("video");
  source.onloadedmetadata = arrange;
  source.src = trial.source;
  clock = new Clock([source, ...figures.map((figure) => figure.firstChild)], trial.fps, refresh);
}

// Arranges the edits below the source, beside it, or in one column: whichever makes the videos largest.
function arrange() {
  const edits = $("edits").children.length, across = edits > 3 ? Math.ceil(edits / 2) : edits;
  const source = $("source").querySelector("video"), stage = $("stage");
  const aspect = source.videoWidth / source.videoHeight || 1;
  const size = (columns, rows) => Math.min(stage.clientWidth / columns / aspect, stage.clientHeight / rows);
  const part = (share) => `minmax(0, ${share}fr)`;
  const [best] = [
    { tall: size(across, Math.ceil(edits / across) * 1.8), form: `${part(4)} ${part(5)} / ${part(1)}`, across },
    { tall: size(edits + 1, 1), form: `${part(1)} / repeat(${edits + 1}, ${part(1)})`, across: 0 },
    { tall: size(1, edits + 1), form: `${part(1)} ${part(edits)} / ${part(1)}`, across: 1 },
  ].sort((a, b) => b.tall - a.tall);
  stage.style.gridTemplate = best.form;
  $("edits").style.display = best.across ? "grid" : "contents";
  $("edits").style.gridTemplateColumns = `repeat(${best.across}, ${part(1)})`;
}

function ask() {
  const open = state.questions.find((question) => question.id === state.question);
  $("ask").textContent = open.ask;
  $("steps").replaceChildren(...state.questions.map((question) =>
    make("li", "", question === open ? "open" : question.choice === null ? "" : "done")));
  const last = state.choices.length - 1;
  $("choices").className = (state.scores ? "scores" : "") + (state.choices.length > 5 ? " many" : "");
  const order = state.choices.filter((choice) => choice).concat(state.choices.includes(0) ? [0] : []);
  $("choices").replaceChildren(...order.map((choice, n) => {
    const button = make("button", choice ? `${choice} ` : "No difference ");
    button.dataset.choice = choice;
    const end = state.scores && n === 0 ? open.low : state.scores && n === last ? open.high : "";
    button.append(end ? make("small", end) : choice ? "" : make("kbd", "0"));
    button.onclick = () => answer(choice);
    return button;
  }));
  refresh();
}

function refresh() {
  if (!clock || !state || !state.trial) return;
  enabled = clock.seen;
  for (const button of $("choices").children) button.disabled = !enabled;
  $("playing").textContent = clock.playing ? "Pause" : "Play";
  $("hint").textContent = trouble || (clock.failed ? "A video here does not play. Press N to skip it."
    : enabled ? "" : clock.shouldPlay ? "Watch once, then answer." : "Paused. Press space to play.");
}

function finish(title, text) {
  if (clock) clock.end();
  clock = null;
  $("retract").hidden = !state.undo;
  $("goodbye").textContent = title;
  $("message").textContent = text;
  show("end");
}

const acts = {
  toggle: () => (clock.playing ? clock.pause() : clock.play()),
  restart: () => clock.restart(),
  slow: () => { clock.slow(); $("slow").setAttribute("aria-pressed", String(clock.speed !== 1)); },
  back: () => clock.step(-1),
  forward: () => clock.step(1),
  undo: () => send("undo"),
  broken: () => send("broken"),
};
const keys = { " ": "toggle", r: "restart", s: "slow", ",": "back", ".": "forward", z: "undo", n: "broken" };

document.addEventListener("keydown", (event) => {
  if ($("trial").hidden || !clock || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const act = keys[event.key.toLowerCase()];
  if (act) acts[act]();
  else if (/^[0-9]$/.test(event.key)) answer(Number(event.key));
  else return;
  event.preventDefault();
});
document.querySelectorAll("nav button").forEach((button) => {
  button.onclick = () => { if (clock) acts[button.dataset.do](); button.blur(); };
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { blurs += 1; if (clock) clock.pause(); }
});
addEventListener("resize", arrange);
addEventListener("blur", () => { blurs += 1; });
$("leave").onclick = () => finish("See you later.", "Your answers so far are saved. Continue under the same name.");
$("retract").onclick = () => send("undo");
$("again").onclick = () => { state = null; show("welcome"); };
$("begin").addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = $("begin").querySelector(".problem");
  problem.hidden = true;
  try {
    const next = await call("start", { rater: $("name").value });
    localStorage.setItem("rater", $("name").value);
    state = null;
    draw(next);
  } catch (error) {
    problem.textContent = error instanceof TypeError ? "No reply from the server: is it still running?" : error.message;
    problem.hidden = false;
  }
});
$("name").value = localStorage.getItem("rater") || "";
fetch("about").then((reply) => reply.json()).then((about) => {
  $("count").textContent = `${plural(about.questions, "question")} on each of ${about.trials}`;
  $("minutes").textContent = plural(about.minutes, "minute");
});
setInterval(refresh, 200);
