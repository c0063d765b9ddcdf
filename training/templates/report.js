// The language switch, and values under the pointer. The page reads without it.
document.getElementById("switch").addEventListener("click", () => {
  const page = document.documentElement;
  page.lang = page.lang === "zh" ? "en" : "zh";
});

for (const plot of document.querySelectorAll(".plot")) {
  const template = plot.querySelector("template");
  if (!template) continue;
  const readings = [...template.content.children];
  const cursor = plot.querySelector(".cursor");
  const readout = plot.querySelector(".readout");
  const away = (reading, at) => Math.abs(Number(reading.dataset.at) - at);
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * 100;
    if (!readings.length) return;
    const nearest = readings.reduce((a, b) => (away(b, at) < away(a, at) ? b : a));
    readout.replaceChildren(...[...nearest.cloneNode(true).childNodes]);
    cursor.style.left = readout.style.left = `${nearest.dataset.at}%`;
    readout.classList.toggle("leftwards", Number(nearest.dataset.at) > 55);
    cursor.hidden = readout.hidden = false;
  });
  plot.addEventListener("pointerleave", () => {
    cursor.hidden = readout.hidden = true;
  });
}
