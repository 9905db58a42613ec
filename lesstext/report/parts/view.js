// Which samples are shown, and in which order: `visible` holds their places in `samples`, which lie
// in the order of ratios, failures last.

let visible = [];
let filtered = null;
let ordered = null;
const lowered = { text: null, words: null };

const ORDERS = {
  ...(hasRatio && {
    decided: { title: "just decided", list: justDecided },
    most: { title: "most text first", rank: (index) => -ratios[index] },
    least: { title: "least text first", rank: (index) => ratios[index] },
    largest: { title: "largest region first", rank: (index) => -(samples.largest[index] ?? NaN) },
  }),
  table: { title: "by shard, as in the shard", list: byTable },
};

function forgetFilter() {
  filtered = null;
  forgetOrder();
}

function forgetOrder() {
  ordered = null;
}

// Words that are all to be found, in texts that were made lower-case once.
function matcher(query, name, textOf) {
  const wanted = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return null;
  lowered[name] ??= Array.from({ length: nSamples }, (_, index) => textOf(index).toLowerCase());
  return (index) => wanted.every((word) => lowered[name][index].includes(word));
}

function wordsOf(index) {
  const found = [];
  for (const panel of panels.values()) {
    const value = panel.words && panelValue(panel, index);
    if (value) found.push(panel.words(value));
  }
  return found.join(" ");
}

function fixedTests() {
  const tests = [
    matcher(state.text, "text", (index) => `${samples.caption[index] ?? ""} ${samples.key[index]}`),
    matcher(state.words, "words", wordsOf),
    GROUPS.get(state.group)?.test,
  ];
  if (state.shard) {
    const fits = samples.shards.map((shard) => shard.includes(state.shard));
    tests.push((index) => fits[samples.shard[index]]);
  }
  if (!["", "kept", "dropped"].includes(state.status)) {
    const failed = state.status === "failed";
    tests.push((index) => (failed ? samples.status[index] !== "ok" : samples.status[index] === state.status));
  }
  return tests.filter(Boolean);
}

function updateVisible() {
  if (filtered === null) {
    const tests = fixedTests();
    filtered = [];
    for (let index = 0; index < nSamples; index += 1) {
      if (tests.every((test) => test(index))) filtered.push(index);
    }
  }
  if (ordered === null || state.order === "decided") ordered = inOrder(filtered);
  const wanted = { kept: true, dropped: false }[state.status];
  visible = wanted === undefined ? ordered
    : ordered.filter((index) => !Number.isNaN(ratios[index]) && isKept(index) === wanted);
  state.cursor = Math.max(0, Math.min(state.cursor, visible.length - 1));
}

function inOrder(list) {
  const { list: arranged, rank } = ORDERS[state.order];
  if (arranged) return arranged(list);
  const ranks = new Map(list.map((index) => [index, rank(index) ?? NaN]));
  const value = (index) => (Number.isNaN(ranks.get(index)) ? Infinity : ranks.get(index));
  return [...list].sort((a, b) => value(a) - value(b) || a - b);
}

function byTable(list) {
  const { shard, key } = samples;
  const places = samples.place;
  return [...list].sort((a, b) => shard[a] - shard[b] || places[a] - places[b] || (key[a] < key[b] ? -1 : 1));
}

// From the threshold outwards, the nearer side first; the list is in the order of ratios.
function justDecided(list) {
  const border = Math.fround(threshold());
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ratios[list[middle]] <= border) low = middle + 1;
    else high = middle;
  }
  const arranged = [];
  let below = low - 1;
  let above = low;
  while (below >= 0 || above < list.length) {
    const gapAbove = above < list.length ? ratios[list[above]] - border : Infinity;
    const isFailure = Number.isNaN(gapAbove);
    if (below >= 0 && (isFailure || border - ratios[list[below]] <= gapAbove)) arranged.push(list[below--]);
    else arranged.push(list[above++]);
  }
  return arranged;
}

// Groups: what people look for first, each one button.

const GROUPS = new Map();
const ASKED = "asked"; // the group that a panel's button asked for last

function addGroups() {
  if (hasRatio) {
    GROUPS.set("decided", { title: "Just decided", order: "decided" });
    GROUPS.set("most", { title: "Most text", order: "most" });
  }
  for (const [name, n] of Object.entries(data.seen)) {
    const panel = panels.get(name);
    GROUPS.set(`seen ${name}`, {
      title: `Exactly 0, but ${name} saw text: ${count.format(n)}`,
      test: (index) => ratios[index] === 0 && panelValue(panel, index) !== null && panel.sawText(panelValue(panel, index)),
    });
  }
  for (const panel of panels.values()) {
    (panel.groups ?? []).forEach((group, place) => addGroup(`${panel.name} ${place}`, panel, group));
    (panel.orders ?? []).forEach((order, place) => addOrder(`${panel.name} ${place}`, panel, order));
  }
}

function addGroup(name, panel, group) {
  const test = (index) => panelValue(panel, index) !== null && group.test(panelValue(panel, index));
  GROUPS.set(name, { title: `${panel.title}: ${group.title}`, test, order: group.order });
}

function addOrder(name, panel, order) {
  const rank = (index) => (panelValue(panel, index) === null ? NaN : order.rank(panelValue(panel, index)));
  ORDERS[name] = { title: `${panel.title}: ${order.title}`, rank };
}
