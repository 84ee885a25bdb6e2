"use strict";
// Draws every chart over its picture; where that fails, the picture stays.
const charts = JSON.parse(document.getElementById("charts").textContent);
const options = {
  renderer: "svg",
  actions: false,
  ast: true, // expressions are interpreted: the page's policy forbids eval
  defaultStyle: false,
  tooltip: { disableDefaultStyle: true },
};

async function draw(name, spec) {
  const chart = document.querySelector(`#figure-${name} .chart`);
  await vegaEmbed(chart.querySelector(".live"), spec, options);
  chart.classList.add("drawn");
}

Promise.all(Object.entries(charts).map(([name, spec]) => draw(name, spec))).then(() => {
  document.documentElement.dataset.drawn = "all";
});

// On paper nothing can be opened.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details.short")) details.open = true;
});
