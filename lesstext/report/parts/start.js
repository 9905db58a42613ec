"use strict";

// What all parts of the page share. Texts become elements by `html` and `svg` alone, as text: the
// page's policy refuses every other way.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const { thresholds, atOrBelow, bars, chosen, hasRatio, samples, sheets } = data;
const nSamples = samples.key.length;
const nOk = hasRatio ? atOrBelow[atOrBelow.length - 1] : 0;
const last = thresholds.length - 1;
const slider = byId("slider");
const count = new Intl.NumberFormat("en-US");
const short = new Intl.NumberFormat("en-US", { notation: "compact" });
const percent = (n) => `${((100 * n) / nOk).toFixed(1)}%`;

// Ratios are float32, so a threshold is compared as one, as the selection does; NaN for failures.
const ratios = Float32Array.from(samples.ratio, (ratio) => ratio ?? NaN);

const state = {
  place: chosen, // of the threshold, among `thresholds`
  group: null,
  order: hasRatio ? "decided" : "table",
  status: "",
  shard: "",
  text: "",
  words: "",
  cursor: 0, // place in `visible` of the sample that keys act on
};
const threshold = () => thresholds[state.place];
const isKept = (index) => ratios[index] <= Math.fround(threshold());

function html(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// A ratio with as many digits as it takes to see on which side of the threshold it lies.
function ratioText(ratio, border = hasRatio ? threshold() : 0) {
  if (ratio === 0) return "0";
  const side = Math.sign(Math.fround(ratio) - Math.fround(border));
  if (side === 0) return String(border);
  for (let digits = ratio < 0.001 ? 5 : 4; digits < 12; digits += 1) {
    const text = ratio.toFixed(digits);
    if (Math.sign(Number(text) - border) === side) return text;
  }
  return String(ratio);
}

// Panels: what other annotators bring. `lesstextReport.panel` is all that their scripts call.

const panels = new Map();
const lesstextReport = {
  panel(name, definition) {
    panels.set(name, { name, title: name, ...definition, values: data.panels[name].samples });
  },
};
const panelValue = (panel, index) => panel.values[index] ?? null;

function tools(addRegions) {
  return {
    element: html,
    svg,
    number: (value) => count.format(value),
    ratio: (value) => ratioText(value),
    regions: addRegions ?? (() => {}),
  };
}
