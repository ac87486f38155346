"use strict";

// Each clip is kept once as text, and becomes a file of the page: some browsers play no video from a data URL.
const clips = JSON.parse(document.getElementById("clips").textContent);
const files = {};

function fileOf(path) {
  if (!(path in files)) {
    const [head, text] = clips[path].split(",");
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    files[path] = URL.createObjectURL(new Blob([bytes], { type: head.slice(5).split(";")[0] }));
  }
  return files[path];
}

for (const element of document.querySelectorAll("[data-clip]")) element.src = fileOf(element.dataset.clip);

// The clips of a case follow the first one.
function playTogether(group) {
  const videos = [...group.querySelectorAll("video")];
  const button = group.querySelector("button");
  const slider = group.querySelector("input");
  const [leader, ...others] = videos;
  let playing = false;

  function seek(time) {
    for (const video of videos) video.currentTime = time;
  }
  function play(wanted) {
    playing = wanted;
    button.textContent = wanted ? "Pause" : "Play";
    for (const video of videos) {
      if (wanted) video.play().catch(() => play(false));
      else video.pause();
    }
    if (!wanted) for (const video of others) video.currentTime = leader.currentTime;
  }
  leader.addEventListener("timeupdate", () => {
    if (leader.duration) slider.value = leader.currentTime / leader.duration;
    for (const video of others) {
      if (Math.abs(video.currentTime - leader.currentTime) > 0.1) video.currentTime = leader.currentTime;
    }
  });
  leader.addEventListener("ended", () => {
    seek(0);
    if (playing) play(true);
  });
  button.addEventListener("click", () => play(!playing));
  slider.addEventListener("input", () => {
    play(false);
    seek(slider.value * leader.duration);
  });
  return play;
}

const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const seen = new Map();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) seen.get(entry.target)(entry.isIntersecting && !still);
});
for (const group of document.querySelectorAll('.clips[data-is-video="true"]')) {
  seen.set(group, playTogether(group));
  watcher.observe(group);
}

function sortBy(table, column, heading) {
  const descending = heading.getAttribute("aria-sort") === "ascending";
  const value = (row) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const compare = (a, b) => {
    const [first, second] = [value(a), value(b)];
    if (first === "" || second === "") return (first === "") - (second === "");
    const order = typeof first === "number" ? first - second : first.localeCompare(second, undefined, { numeric: true });
    return descending ? -order : order;
  };
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => sortBy(table, column, heading));
  });
}
