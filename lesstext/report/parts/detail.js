// One sample, large: its picture, its caption in full, what each table says, and marks.

const detail = byId("detail");

function fullCaption(index) {
  const caption = samples.caption[index];
  if (caption === null) return html("p", "caption quiet", "no caption");
  const length = samples.captionLength[index];
  const whole = html("p", "caption", length > caption.length ? `${caption}… (${count.format(length)} characters)` : caption);
  whole.dir = "auto";
  return whole;
}

function facts(index) {
  const ratio = samples.ratio[index];
  const lines = [
    ["shard", samples.shards[samples.shard[index]]],
    ["key", samples.key[index]],
    ["status", samples.status[index] + (samples.error[index] ? `: ${samples.error[index]}` : "")],
  ];
  if (ratio !== null) {
    lines.push(["text-area ratio", `${ratioText(ratio)}, ${isKept(index) ? "kept" : "dropped"} at ${threshold()}`]);
    lines.push(["regions", regionText(index)]);
    if (samples.largest[index] !== null) lines.push(["largest region", ratioText(samples.largest[index])]);
  }
  if (samples.width[index]) lines.push(["size", `${samples.width[index]} × ${samples.height[index]} px`]);
  return html("dl", "columns", ...lines.flatMap(([name, text]) => [html("dt", "", name), html("dd", "", text)]));
}

function panelParts(index, addRegions) {
  const parts = [];
  for (const panel of panels.values()) {
    const value = panelValue(panel, index);
    if (value === null) continue;
    const content = panel.detail?.(value, tools(addRegions)) ?? null;
    const labels = (panel.labels?.(value) ?? []).map((label) => labelLine(index, label));
    if (content || labels.length) parts.push(html("section", "", html("h3", "", panel.title), content, ...labels));
  }
  return parts;
}

// A label that a panel wants judged by itself, such as one entity of several.
function labelLine(index, { id, title }) {
  const line = html("p", "label", html("span", "", title), markButtons(index, markOf(index, id)));
  for (const button of line.querySelectorAll("button")) {
    button.tabIndex = 0;
    button.addEventListener("click", () => {
      setMark(index, button.dataset.mark, id);
      fillDetail();
    });
  }
  return line;
}

function fillDetail() {
  const index = visible[state.cursor];
  const more = [];
  const parts = panelParts(index, (regions) => more.push(...regions));
  byId("stage").replaceChildren(picture(index, more));
  byId("facts").replaceChildren(fullCaption(index), facts(index), ...parts);
  byId("detail-title").textContent = `${count.format(state.cursor + 1)} of ${count.format(visible.length)}`;
  for (const value of ["right", "wrong"]) {
    byId(`detail-${value}`).setAttribute("aria-pressed", String(markOf(index) === value));
  }
}

function openDetail(place = state.cursor) {
  if (!visible.length) return;
  moveCursor(place, false);
  fillDetail();
  if (!detail.open) detail.showModal();
}

function markCurrent(mark) {
  if (!visible.length) return;
  setMark(visible[state.cursor], mark);
  redrawCell(state.cursor);
  if (detail.open) fillDetail();
}

function step(by) {
  moveCursor(state.cursor + by);
  if (detail.open) fillDetail();
}
