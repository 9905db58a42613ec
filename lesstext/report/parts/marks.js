// Marks: what the reader found right or wrong, kept by the browser and handed out as csv.

const MARKS_KEY = `lesstext-marks ${data.id}`;
const marks = new Map(); // "place entity" or "place ": right or wrong
const markKey = (index, entity = "") => `${index} ${entity}`;
const markOf = (index, entity = "") => marks.get(markKey(index, entity)) ?? null;

function restoreMarks() {
  let stored = [];
  try {
    stored = JSON.parse(localStorage.getItem(MARKS_KEY) ?? "[]");
  } catch {
    stored = [];
  }
  const places = new Map(samples.key.map((key, index) => [`${samples.shard[index]} ${key}`, index]));
  for (const [shard, key, entity, mark] of stored) {
    const index = places.get(`${samples.shards.indexOf(shard)} ${key}`);
    if (index !== undefined) marks.set(markKey(index, entity), mark);
  }
}

function markRows() {
  return [...marks].map(([name, mark]) => {
    const cut = name.indexOf(" ");
    const index = Number(name.slice(0, cut));
    return [samples.shards[samples.shard[index]], samples.key[index], name.slice(cut + 1), mark];
  });
}

// Sets a mark, or takes the same one away again.
function setMark(index, mark, entity = "") {
  const name = markKey(index, entity);
  if (mark === null || marks.get(name) === mark) marks.delete(name);
  else marks.set(name, mark);
  try {
    localStorage.setItem(MARKS_KEY, JSON.stringify(markRows()));
  } catch {
    byId("marks-note").textContent = "This browser keeps no marks between visits: download them.";
  }
  showPrecision();
}

// Wilson's interval of a share, 95%.
function wilson(n, of) {
  const z = 1.959964;
  const middle = (n + (z * z) / 2) / (of + z * z);
  const half = (z * Math.sqrt((n * (of - n)) / of + (z * z) / 4)) / (of + z * z);
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

function share(name, list) {
  const right = list.filter((mark) => mark === "right").length;
  const [low, high] = wilson(right, list.length).map((value) => Math.round(100 * value));
  const points = Math.round((100 * right) / list.length);
  return `${name} ${right} of ${list.length} right, ${points}% (95%: ${low} to ${high}%)`;
}

function showPrecision() {
  const lists = { all: [], kept: [], dropped: [], labels: [] };
  for (const [name, mark] of marks) {
    const cut = name.indexOf(" ");
    const index = Number(name.slice(0, cut));
    if (name.length > cut + 1) {
      lists.labels.push(mark);
      continue;
    }
    lists.all.push(mark);
    if (hasRatio && !Number.isNaN(ratios[index])) lists[isKept(index) ? "kept" : "dropped"].push(mark);
  }
  const shown = Object.entries(lists).filter(([, list]) => list.length).map(([name, list]) => share(`${name}:`, list));
  byId("precision").textContent = shown.length ? `Marked. ${shown.join("; ")}.` : "Nothing marked yet.";
  byId("download").disabled = marks.size === 0;
}

function csv(table) {
  const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return table.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

function downloadMarks() {
  const text = csv([["shard", "key", "entity_id", "mark"], ...markRows()]);
  const link = html("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "marks.csv";
  link.click();
}
