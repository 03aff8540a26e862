// Shared by the pages with videos: DOM helpers, and one clock that keeps all videos in sync.
const by = id => document.getElementById(id);

function make(kind, text, name) {
  const node = document.createElement(kind);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
}

// Each video follows the time since the start, modulo the longest clip of its card.
let playing = true, speed = 1, zero = performance.now(), elapsed = 0;
const now = () => playing ? elapsed + (performance.now() - zero) / 1000 * speed : elapsed;
function set(time) { elapsed = time; zero = performance.now(); }
const seen = new Set();
const watcher = new IntersectionObserver(entries => {
  for (const entry of entries) {
    const card = entry.target;
    if (entry.isIntersecting) {
      seen.add(card);
      for (const video of card.querySelectorAll("video:not([src])")) video.src = video.dataset.src;
    } else {
      seen.delete(card);
      for (const video of card.querySelectorAll("video")) video.pause();
    }
  }
}, { rootMargin: "200px" });
function tick() {
  let longest = 0;
  for (const card of seen) {
    const videos = [...card.querySelectorAll("video")].filter(video => video.readyState > 0);
    const length = Math.max(0, ...videos.map(video => video.duration || 0));
    if (!length) continue;
    longest = Math.max(longest, length);
    const time = now() % length;
    for (const video of videos) {
      const target = Math.min(time, Math.max(0, video.duration - 0.01));
      const ended = time >= video.duration - 0.01;
      if (video.playbackRate !== speed) video.playbackRate = speed;
      if (Math.abs(video.currentTime - target) > (playing ? 0.12 : 0.001) && !video.seeking) video.currentTime = target;
      if (playing && !ended && video.paused) video.play().catch(() => {});
      if ((!playing || ended) && !video.paused) video.pause();
    }
  }
  if (longest && playing) by("time").value = Math.round(now() % longest / longest * 1000);
  by("time").dataset.length = longest;
  requestAnimationFrame(tick);
}
by("play").onclick = () => { const time = now(); playing = !playing; set(time); by("play").textContent = playing ? "pause" : "play"; };
by("again").onclick = () => set(0);
by("speed").onchange = event => { set(now()); speed = Number(event.target.value); };
by("time").oninput = event => { if (playing) by("play").click(); set(event.target.value / 1000 * (Number(event.target.dataset.length) || 1)); };
document.onkeydown = event => {
  if (event.target.matches("input[type=range], select, button") ? event.key === " " : event.target.matches("input")) return;
  if (event.key === " ") { event.preventDefault(); by("play").click(); }
  if (event.key === "r") set(0);
};
