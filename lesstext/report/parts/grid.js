// The grid: as many rows as are in sight are in the document, each at its place by absolute
// position; the page scrolls as if all were there.

const GAP_PX = 12;
const INFO_PX = 142;
const ROWS_BEYOND = 1;
const grid = byId("grid");
const rows = new Map(); // number of the row: its element
const sheetUrls = new Map();
let shape = { columns: 1, cardPx: 0, rowPx: 1 };

function measureGrid() {
  const width = grid.clientWidth;
  const least = width < 480 ? 148 : 176;
  const columns = Math.max(1, Math.floor((width + GAP_PX) / (least + GAP_PX)));
  const cardPx = Math.floor((width - GAP_PX * (columns - 1)) / columns);
  shape = { columns, cardPx, rowPx: cardPx + INFO_PX + GAP_PX };
}

function sheetUrl(number) {
  if (!sheetUrls.has(number)) {
    const url = sheets.folder === null ? blobUrl(sheets.embedded[number])
      : `${sheets.folder.split("/").map(encodeURIComponent).join("/")}/${String(number).padStart(5, "0")}.jpg`;
    sheetUrls.set(number, url);
  }
  return sheetUrls.get(number);
}

function blobUrl(base64) {
  const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
}

// The sample's tile, cut out of its sheet by the size and place of a background.
function showTile(frame, index) {
  const { tilePx, tilesPerRow, nTiles } = sheets;
  const perSheet = tilesPerRow * tilesPerRow;
  const number = Math.floor(index / perSheet);
  const place = index % perSheet;
  const onSheet = Math.min(perSheet, nTiles - number * perSheet);
  const [width, height] = samples.tile[index];
  const sheet = [tilesPerRow * tilePx, Math.ceil(onSheet / tilesPerRow) * tilePx];
  const left = tilePx * (place % tilesPerRow);
  const top = tilePx * Math.floor(place / tilesPerRow);
  const part = (offset, whole, size) => (whole === size ? 0 : (100 * offset) / (whole - size));
  frame.style.backgroundImage = `url("${sheetUrl(number)}")`;
  frame.style.backgroundSize = `${(100 * sheet[0]) / width}% ${(100 * sheet[1]) / height}%`;
  frame.style.backgroundPosition = `${part(left, sheet[0], width)}% ${part(top, sheet[1], height)}%`;
}

// Many polygons as one path: a card stays cheap however many regions it has.
function outlines(regions) {
  return regions.map((region) => `M${region.join(" ")}Z`).join("");
}

function picture(index, moreRegions = []) {
  const [width, height] = samples.tile[index];
  if (!width) return html("div", "picture", html("div", "absent", `no picture: ${samples.missing[index] ?? ""}`));
  const frame = html("div", width >= height ? "frame wide" : "frame tall");
  frame.style.aspectRatio = `${width} / ${height}`;
  frame.setAttribute("role", "img");
  frame.setAttribute("aria-label", (samples.caption[index] ?? samples.key[index]).slice(0, 200));
  showTile(frame, index);
  const own = samples.regions[index] ?? [];
  if (samples.width[index] && own.length + moreRegions.length) {
    const box = { viewBox: `0 0 ${samples.width[index]} ${samples.height[index]}`, preserveAspectRatio: "none" };
    const overlay = svg("svg", { ...box, "aria-hidden": "true" });
    overlay.append(svg("path", { d: outlines(own) }), svg("path", { d: outlines(moreRegions), class: "other" }));
    frame.append(overlay);
  }
  return html("div", "picture", frame);
}

function regionText(index) {
  const n = samples.nRegions[index];
  const text = `${count.format(n)} region${n === 1 ? "" : "s"}`;
  const regions = samples.regions[index];
  if (n === 0) return text;
  if (regions === null) return `${text}, not stored`;
  return regions.length < n ? `${text}, ${regions.length} drawn` : text;
}

function sideOf(index) {
  if (samples.status[index] !== "ok") return "failed";
  if (!hasRatio) return "ok";
  return isKept(index) ? "kept" : "dropped";
}

function captionLine(index) {
  const caption = samples.caption[index];
  if (caption === null) return html("p", "caption quiet", "no caption");
  const line = html("p", "caption", caption.slice(0, 160));
  line.dir = "auto";
  return line;
}

function panelLine(index) {
  const line = html("p", "panels");
  for (const panel of panels.values()) {
    const value = panel.card && panelValue(panel, index);
    const part = value ? panel.card(value, tools()) : null;
    if (part) line.append(part, " ");
  }
  line.dir = "auto";
  return line;
}

function card(place) {
  const index = visible[place];
  const side = sideOf(index);
  const ratio = samples.ratio[index];
  const shown = ratio === null ? samples.status[index] : ratioText(ratio);
  const mark = markOf(index);
  const info = html("div", "info",
    html("p", "ratio", html("b", "", shown), html("span", "side", side)),
    html("p", "name", `${samples.shards[samples.shard[index]]} / ${samples.key[index]}`),
    captionLine(index), panelLine(index));
  const cell = html("div", `card ${side}-card${place === state.cursor ? " current" : ""}`, picture(index), info,
    markButtons(index, mark));
  if (mark) cell.classList.add(`marked-${mark}`);
  cell.id = `cell-${place}`;
  cell.dataset.place = place;
  cell.setAttribute("role", "gridcell");
  cell.setAttribute("aria-colindex", (place % shape.columns) + 1);
  cell.setAttribute("aria-selected", String(place === state.cursor));
  cell.style.width = `${shape.cardPx}px`;
  cell.firstChild.style.height = `${shape.cardPx}px`;
  return cell;
}

function markButtons(index, mark) {
  const box = html("div", "marking");
  for (const [value, sign] of [["right", "✓"], ["wrong", "✗"]]) {
    const button = html("button", value, sign);
    button.type = "button";
    button.tabIndex = -1;
    button.dataset.mark = value;
    button.setAttribute("aria-label", `mark as ${value}`);
    button.setAttribute("aria-pressed", String(mark === value));
    box.append(button);
  }
  return box;
}

function row(number) {
  const { columns, rowPx } = shape;
  const element = html("div", "row");
  element.setAttribute("role", "row");
  element.setAttribute("aria-rowindex", number + 1);
  element.style.transform = `translateY(${number * rowPx}px)`;
  const end = Math.min(visible.length, (number + 1) * columns);
  for (let place = number * columns; place < end; place += 1) element.append(card(place));
  return element;
}

// Puts the rows in sight into the document and takes the others out.
function renderGrid() {
  const { columns, rowPx } = shape;
  const nRows = Math.ceil(visible.length / columns);
  const top = -grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / rowPx) - ROWS_BEYOND);
  const end = Math.min(nRows, Math.ceil((top + window.innerHeight) / rowPx) + ROWS_BEYOND);
  for (const [number, element] of rows) {
    if (number < first || number >= end) {
      element.remove();
      rows.delete(number);
    }
  }
  for (let number = first; number < end; number += 1) {
    if (rows.has(number)) continue;
    const element = row(number);
    const next = [...rows.keys()].filter((other) => other > number).sort((a, b) => a - b)[0];
    grid.insertBefore(element, next === undefined ? null : rows.get(next));
    rows.set(number, element);
  }
  const current = rows.has(Math.floor(state.cursor / columns));
  if (current && visible.length) grid.setAttribute("aria-activedescendant", `cell-${state.cursor}`);
  else grid.removeAttribute("aria-activedescendant");
}

function redrawGrid() {
  measureGrid();
  const nRows = Math.ceil(visible.length / shape.columns);
  grid.style.height = `${Math.max(0, nRows * shape.rowPx - GAP_PX)}px`;
  grid.setAttribute("aria-rowcount", nRows);
  grid.setAttribute("aria-colcount", shape.columns);
  for (const element of rows.values()) element.remove();
  rows.clear();
  renderGrid();
  byId("nothing").hidden = visible.length > 0;
}

function redrawCell(place) {
  const old = byId(`cell-${place}`);
  if (old) old.replaceWith(card(place));
}

function moveCursor(place, follow = true) {
  const old = state.cursor;
  state.cursor = Math.max(0, Math.min(place, visible.length - 1));
  redrawCell(old);
  redrawCell(state.cursor);
  if (follow) scrollToCursor();
  renderGrid();
}

function scrollToCursor() {
  const barPx = byId("controls").getBoundingClientRect().height;
  const top = grid.getBoundingClientRect().top + Math.floor(state.cursor / shape.columns) * shape.rowPx;
  const bottom = top + shape.rowPx;
  if (top < barPx + GAP_PX) window.scrollBy(0, top - barPx - GAP_PX);
  else if (bottom > window.innerHeight) window.scrollBy(0, bottom - window.innerHeight);
}
