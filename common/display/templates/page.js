"use strict";
// The line in all panels of a recording follows its sound, and a click on a panel moves both.
for (const timeline of document.querySelectorAll(".timeline")) {
  const audio = timeline.querySelector("audio");
  if (!audio) continue;
  const seconds = Number(timeline.dataset.seconds);
  const show = () => {
    timeline.classList.add("heard");
    timeline.style.setProperty("--at", Math.min(100, (100 * audio.currentTime) / seconds) + "%");
    if (!audio.paused) requestAnimationFrame(show);
  };
  for (const event of ["play", "seeked", "timeupdate"]) audio.addEventListener(event, show);
  for (const plot of timeline.querySelectorAll(".plot")) {
    plot.addEventListener("click", (click) => {
      const place = plot.getBoundingClientRect();
      audio.currentTime = ((click.clientX - place.left) / place.width) * seconds;
      show();
    });
  }
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
  });
}
