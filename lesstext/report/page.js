"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { thresholds, atOrBelow, bars, chosen, nShown, examples } = data;
  const nOk = atOrBelow[atOrBelow.length - 1];
  const last = thresholds.length - 1;
  const slider = byId("slider");
  const count = new Intl.NumberFormat("en-US");
  const short = new Intl.NumberFormat("en-US", { notation: "compact" });
  const percent = (n) => `${((100 * n) / nOk).toFixed(1)}%`;
  const ratioText = (ratio) => (ratio === 0 ? "0" : ratio.toFixed(ratio < 0.001 ? 5 : 4));

  function html(name, className, ...children) {
    const element = document.createElement(name);
    element.className = className;
    element.append(...children);
    return element;
  }

  function svg(name, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

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

  // Contact sheets: each card is built once, when it is first shown.

  const cards = new Map();

  function drawPicture(example) {
    const name = `${example.shard} / ${example.key}`;
    if (example.image === null) {
      return html("div", "picture", html("div", "absent", `no image: ${example.missing}`));
    }
    const image = html("img", "");
    image.src = example.image;
    image.alt = example.caption ? example.caption.slice(0, 200) : name;
    const overlay = svg("svg", { viewBox: `0 0 ${example.width} ${example.height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const region of example.regions ?? []) overlay.append(svg("polygon", { points: region.join(" ") }));
    const frame = html("div", example.width >= example.height ? "frame wide" : "frame tall", image, overlay);
    frame.style.aspectRatio = `${example.width} / ${example.height}`;
    return html("div", "picture", frame);
  }

  function captionBlock({ caption, caption_length: length, image }) {
    if (!caption) return html("p", "caption quiet", image === null ? "" : "no caption");
    if (caption.length <= 120) {
      const line = html("p", "caption", caption);
      line.dir = "auto";
      return line;
    }
    const start = Array.from(caption).slice(0, 90).join("").trimEnd();
    const whole = html("div", "", length > caption.length ? `${caption}… (${count.format(length)} characters)` : caption);
    const block = html("details", "caption", html("summary", "", `${start}…`), whole);
    whole.dir = "auto";
    block.firstChild.dir = "auto";
    return block;
  }

  function regionText({ n_regions: n, regions, image }) {
    const text = `${count.format(n)} region${n === 1 ? "" : "s"}`;
    if (image === null || n === 0) return text;
    if (regions === null) return `${text}, not stored`;
    return regions.length < n ? `${text}, ${regions.length} drawn` : text;
  }

  function card(index) {
    if (!cards.has(index)) {
      const example = examples[index];
      const ratio = html("div", "ratio", html("b", "", ratioText(example.ratio)), html("span", "quiet", regionText(example)));
      const name = html("code", "", `${example.shard} / ${example.key}`);
      const text = html("figcaption", "", ratio, name, captionBlock(example));
      cards.set(index, html("figure", "card", drawPicture(example), text));
    }
    return cards.get(index);
  }

  function fillSheet(id, indices, message) {
    const shown = indices.map((index) => {
      const figure = card(index);
      figure.className = `card ${id}-card`;
      return figure;
    });
    byId(id).replaceChildren(...(shown.length ? shown : [html("p", "quiet", message)]));
  }

  function cut() {
    const index = Number(slider.value);
    const threshold = thresholds[index];
    const kept = atOrBelow[index];
    const dropped = nOk - kept;
    const keptText = html("b", "kept", `${count.format(kept)} kept (${percent(kept)})`);
    const droppedText = html("b", "dropped", `${count.format(dropped)} dropped (${percent(dropped)})`);
    byId("readout").replaceChildren("Keep ratio ≤ ", html("b", "", String(threshold)), ": ", keptText, ", ", droppedText);
    slider.setAttribute("aria-valuetext", `${threshold}, keeps ${percent(kept)}`);
    byId("kept-title").textContent = `Kept: at or just below ${threshold}`;
    byId("dropped-title").textContent = `Dropped: just above ${threshold}`;
    // Ratios are float32, so the threshold is compared as one, as the selection does.
    const after = examples.filter((example) => example.ratio <= Math.fround(threshold)).length;
    const range = (start, end) => Array.from({ length: end - start }, (_, offset) => start + offset);
    const below = range(Math.max(0, after - nShown), after).reverse();
    fillSheet("kept", below, "This page holds no example at or below this threshold.");
    fillSheet("dropped", range(after, Math.min(examples.length, after + nShown)), "This page holds no example above this threshold.");
    moveMarker();
  }

  slider.addEventListener("input", cut);
  byId("reset").addEventListener("click", () => {
    slider.value = String(chosen);
    cut();
  });
  byId("regions").addEventListener("change", (event) => {
    document.body.classList.toggle("without-regions", !event.target.checked);
  });
  new ResizeObserver(drawCharts).observe(byId("charts"));
  slider.value = String(chosen);
  drawCharts();
  cut();
})();
