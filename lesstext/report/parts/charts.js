// Charts: both share one x axis, along which neighbouring thresholds lie equally far apart, so
// that the slider below lines up with them. Ratios of exactly 0 have a column of their own.

const HISTOGRAM = { top: 30, height: 150 };
const CURVE = { top: 236, height: 130 };
const CHART_HEIGHT = 400;
const THUMB_PX = 20;
let chart = null;

function layout(width) {
  const narrow = width < 560;
  const zero = { left: narrow ? 12 : 24, width: narrow ? 44 : 64 };
  const left = zero.left + zero.width + (narrow ? 48 : 64);
  const plot = { left, width: width - left - (narrow ? 18 : 28) };
  return { width, zero, plot, x: (index) => plot.left + (plot.width * index) / last };
}

function roundStep(largest) {
  const rough = largest / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  return Math.max(1, [1, 2, 5, 10].map((m) => m * power).find((step) => step >= rough));
}

function drawZeroColumn(root, at) {
  const zeros = atOrBelow[0];
  const height = (HISTOGRAM.height * zeros) / nOk;
  const middle = at.zero.left + at.zero.width / 2;
  const column = { x: at.zero.left, width: at.zero.width };
  const { top } = HISTOGRAM;
  root.append(
    svg("rect", { ...column, y: top, height: HISTOGRAM.height, class: "track" }),
    svg("rect", { ...column, y: top + HISTOGRAM.height - height, height, class: "kept" }),
    svg("text", { x: middle, y: top - 8, "text-anchor": "middle", class: "strong" }, percent(zeros)),
    svg("text", { x: middle, y: top + HISTOGRAM.height + 18, "text-anchor": "middle" }, "exactly 0"),
    svg("text", { x: middle, y: top + HISTOGRAM.height + 34, "text-anchor": "middle", class: "label" }, short.format(zeros)),
  );
}

function drawBars(root, at) {
  const largest = Math.max(1, ...bars.map((bar) => bar[2]));
  const step = roundStep(largest);
  const y = (n) => HISTOGRAM.top + HISTOGRAM.height * (1 - n / largest);
  root.append(svg("text", { x: at.plot.left, y: 18, class: "label" }, "samples by text-area ratio, above 0"));
  for (let n = 0; n <= largest; n += step) drawGridLine(root, at, y(n), short.format(n));
  for (const side of ["kept", "dropped"]) {
    const group = svg("g", { class: side, "clip-path": `url(#clip-${side})` });
    for (const [start, end, n] of bars) {
      const x = at.x(start) + 1;
      group.append(svg("rect", { x, width: Math.max(1, at.x(end) - x), y: y(n), height: y(0) - y(n) }));
    }
    const clip = svg("clipPath", { id: `clip-${side}` });
    clip.append(svg("rect", { x: at.plot.left, y: 0, width: 0, height: CHART_HEIGHT }));
    root.append(clip, group);
  }
}

function drawCurve(root, at) {
  const y = (n) => CURVE.top + CURVE.height * (1 - n / nOk);
  root.append(svg("text", { x: at.plot.left, y: CURVE.top - 12, class: "label" }, "share of usable samples kept"));
  for (const part of [0, 0.5, 1]) drawGridLine(root, at, y(part * nOk), `${100 * part}%`);
  const points = atOrBelow.map((n, index) => `${at.x(index)},${y(n)}`);
  root.append(svg("polyline", { points: points.join(" "), class: "curve" }));
  for (const [base, tick] of [[HISTOGRAM, 18], [CURVE, 18]]) {
    for (const value of at.plot.width < 320 ? [0, 0.01, 0.1, 1] : [0, 0.001, 0.01, 0.1, 1]) {
      const x = at.x(thresholds.indexOf(value));
      root.append(svg("text", { x, y: base.top + base.height + tick, "text-anchor": "middle", class: "label" }, String(value)));
    }
  }
  return y;
}

function drawGridLine(root, at, y, label) {
  root.append(
    svg("line", { x1: at.plot.left, x2: at.plot.left + at.plot.width, y1: y, y2: y, class: "grid" }),
    svg("text", { x: at.plot.left - 8, y: y + 4, "text-anchor": "end", class: "label" }, label),
  );
}

function drawCharts() {
  const width = byId("charts").clientWidth;
  if (!width || (chart && chart.at.width === width)) return;
  const at = layout(width);
  const root = svg("svg", { viewBox: `0 0 ${width} ${CHART_HEIGHT}`, height: CHART_HEIGHT, role: "img" });
  root.setAttribute("aria-label", "Histogram of the text-area ratio, and the share of samples kept by threshold");
  const vertical = { y1: HISTOGRAM.top - 6, y2: CURVE.top + CURVE.height };
  const old = at.x(chosen);
  root.append(svg("line", { ...vertical, x1: old, x2: old, class: "chosen" }));
  drawZeroColumn(root, at);
  drawBars(root, at);
  const y = drawCurve(root, at);
  const marker = svg("line", { ...vertical, class: "marker" });
  const dot = svg("circle", { r: 6, class: "dot" });
  root.append(marker, dot);
  chart = { at, y, marker, dot, root };
  byId("charts").replaceChildren(root);
  byId("track").style.paddingLeft = `${at.plot.left - THUMB_PX / 2}px`;
  byId("track").style.paddingRight = `${at.width - at.plot.left - at.plot.width - THUMB_PX / 2}px`;
  moveMarker();
}

function moveMarker() {
  if (!chart) return;
  const { at, y, marker, dot, root } = chart;
  const index = Number(slider.value);
  const x = at.x(index);
  const right = at.plot.left + at.plot.width;
  marker.setAttribute("x1", x);
  marker.setAttribute("x2", x);
  dot.setAttribute("cx", x);
  dot.setAttribute("cy", y(atOrBelow[index]));
  root.querySelector("#clip-kept rect").setAttribute("width", x - at.plot.left);
  root.querySelector("#clip-dropped rect").setAttribute("x", x);
  root.querySelector("#clip-dropped rect").setAttribute("width", right - x);
}
