// From here on everything is there: fill the controls, listen, draw.

function option(value, title) {
  const element = html("option", "", title);
  element.value = value;
  return element;
}

function fillControls() {
  addGroups();
  for (const name of GROUPS.keys()) byId("groups").append(groupButton(name));
  for (const [name, { title }] of Object.entries(ORDERS)) byId("order").append(option(name, title));
  const failures = [...new Set(samples.status)].filter((status) => status !== "ok").sort();
  const statuses = [...(hasRatio ? ["kept", "dropped"] : ["ok"]), ...(failures.length ? ["failed", ...failures] : [])];
  for (const status of statuses) byId("status").append(option(status, status));
  for (const shard of samples.shards.slice(0, 1000)) byId("shard-names").append(option(shard, ""));
  byId("words-field").hidden = ![...panels.values()].some((panel) => panel.words);
  byId("order").value = state.order;
}

function groupButton(name) {
  const button = html("button", "", GROUPS.get(name).title);
  button.type = "button";
  button.dataset.group = name;
  button.addEventListener("click", () => chooseGroup(name));
  return button;
}

// What a panel's own button asks for: a group and its orders, in place of those asked for before.
function showOnly(panel, { title, test, orders }) {
  document.querySelectorAll(`[data-group=${ASKED}], #order option[value^=${ASKED}]`).forEach((old) => old.remove());
  addGroup(ASKED, panel, { title, test, order: `${ASKED} 0` });
  byId("groups").append(groupButton(ASKED));
  orders.forEach((order, place) => {
    addOrder(`${ASKED} ${place}`, panel, order);
    byId("order").append(option(`${ASKED} ${place}`, ORDERS[`${ASKED} ${place}`].title));
  });
  state.group = null;
  chooseGroup(ASKED);
  byId("cut").scrollIntoView();
}

function chooseGroup(name) {
  state.group = state.group === name ? null : name;
  state.order = GROUPS.get(state.group)?.order ?? state.order;
  byId("order").value = state.order;
  restart();
}

function restart() {
  state.cursor = 0;
  forgetFilter();
  update();
  const barPx = byId("controls").getBoundingClientRect().height;
  const top = grid.getBoundingClientRect().top;
  if (top < barPx) window.scrollBy(0, top - barPx - GAP_PX);
}

function update() {
  updateVisible();
  redrawGrid();
  byId("shown").textContent = `${count.format(visible.length)} of the ${count.format(nSamples)} samples on this page`;
  for (const button of byId("groups").children) {
    button.setAttribute("aria-pressed", String(button.dataset.group === state.group));
  }
}

function cut(place) {
  state.place = Math.max(0, Math.min(last, place));
  slider.value = String(state.place);
  const kept = atOrBelow[state.place];
  const keptText = html("b", "kept", `${count.format(kept)} kept (${percent(kept)})`);
  const droppedText = html("b", "dropped", `${count.format(nOk - kept)} dropped (${percent(nOk - kept)})`);
  byId("readout").replaceChildren("Keep ratio ≤ ", html("b", "", String(threshold())), ": ", keptText, ", ", droppedText);
  slider.setAttribute("aria-valuetext", `${threshold()}, keeps ${percent(kept)}`);
  moveMarker();
  update();
  showPrecision();
  if (detail.open) fillDetail();
}

function showWholes() {
  for (const panel of panels.values()) {
    const { whole } = data.panels[panel.name];
    const content = whole !== null && panel.whole ? panel.whole(whole, { ...tools(), show: (asked) => showOnly(panel, asked) }) : null;
    if (content) byId("panels").append(html("section", "panel", html("h2", "", panel.title), content));
  }
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  Enter: () => openDetail(),
  o: () => (detail.open ? detail.close() : openDetail()),
  r: () => markCurrent("right"),
  w: () => markCurrent("wrong"),
  u: () => markCurrent(null),
  g: () => byId("regions").click(),
  "[": () => hasRatio && cut(state.place - 1),
  "]": () => hasRatio && cut(state.place + 1),
  0: () => hasRatio && cut(chosen),
  "/": () => {
    byId("controls").classList.add("open");
    byId("text").focus();
  },
  "?": () => (byId("keys").open ? byId("keys").close() : byId("keys").showModal()),
};
const MOVES = {
  ArrowLeft: () => -1,
  ArrowRight: () => 1,
  ArrowUp: () => -shape.columns,
  ArrowDown: () => shape.columns,
  Home: () => -visible.length,
  End: () => visible.length,
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isButton = event.target.matches("button, a, summary");
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  const move = (document.activeElement === grid || detail.open) && MOVES[event.key];
  if (move) step(detail.open && event.key.startsWith("Arrow") ? Math.sign(move()) : move());
  else if (event.key === "Enter" && (isButton || detail.open)) return;
  else if (KEYS[event.key] && (byId("single-keys").checked || event.key === "Enter")) KEYS[event.key]();
  else return;
  event.preventDefault();
}

function onGridClick(event) {
  const cell = event.target.closest(".card");
  if (!cell) return;
  const button = event.target.closest("button[data-mark]");
  if (button) {
    moveCursor(Number(cell.dataset.place), false);
    markCurrent(button.dataset.mark);
  } else openDetail(Number(cell.dataset.place));
}

function listen() {
  let waiting = false;
  window.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      renderGrid();
    });
  }, { passive: true });
  new ResizeObserver(() => {
    const { columns, cardPx } = shape;
    measureGrid();
    if (shape.columns !== columns || shape.cardPx !== cardPx) redrawGrid();
  }).observe(grid);
  grid.addEventListener("click", onGridClick);
  document.addEventListener("keydown", onKey);
  for (const name of ["order", "status", "shard", "text", "words"]) {
    byId(name).addEventListener("input", (event) => {
      state[name] = event.target.value;
      if (name === "order") state.group = GROUPS.get(state.group)?.test ? state.group : null;
      restart();
    });
  }
  byId("regions").addEventListener("change", (event) => {
    document.body.classList.toggle("without-regions", !event.target.checked);
    byId("detail-regions").setAttribute("aria-pressed", String(event.target.checked));
  });
  byId("more").addEventListener("click", () => {
    byId("more").setAttribute("aria-expanded", String(byId("controls").classList.toggle("open")));
  });
  byId("download").addEventListener("click", downloadMarks);
  byId("show-keys").addEventListener("click", () => byId("keys").showModal());
  const buttons = {
    "detail-back": () => step(-1),
    "detail-on": () => step(1),
    "detail-regions": () => byId("regions").click(),
    "detail-right": () => markCurrent("right"),
    "detail-wrong": () => markCurrent("wrong"),
    "detail-close": () => detail.close(),
    "keys-close": () => byId("keys").close(),
  };
  for (const [id, action] of Object.entries(buttons)) byId(id).addEventListener("click", action);
  detail.addEventListener("close", () => {
    scrollToCursor();
    grid.focus({ preventScroll: true });
  });
}

restoreMarks();
fillControls();
showWholes();
listen();
if (hasRatio) {
  slider.addEventListener("input", () => cut(Number(slider.value)));
  byId("reset").addEventListener("click", () => cut(chosen));
  new ResizeObserver(drawCharts).observe(byId("charts"));
  drawCharts();
  cut(chosen);
} else {
  update();
  showPrecision();
}
