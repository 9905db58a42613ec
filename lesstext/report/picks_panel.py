"""What the report shows of picks: each image's candidates, and what all of them come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lesstext.report.panels import MAX_TEXT_CHARS, Ask, Panel

_MAX_PICKS = 20
_MAX_ROWS = 30
_MAX_ENTITIES = 500
_SCRIPT = """
const named = (one) => `${one.text} (${one.id})`;
const cells = (element, tag, values) =>
  element("tr", "", ...values.map((value) => element(tag, "", value)));
const table = (element, head, rows) => element("table", "", cells(element, "th", head),
  ...rows.map((row) => cells(element, "td", row)));
const margin = (value) => (value.length > 1 ? value[0].similarity - value[1].similarity : 9);

function longTail(points, { svg }) {
  const x = (n) => 40 + 60 * Math.log10(n), y = (n) => 170 - 40 * Math.log10(n);
  const dots = points.map(([images, n]) => svg("circle",
    { cx: x(images), cy: y(n), r: 3, fill: "currentColor" }, undefined));
  const ticks = [1, 10, 100, 1000, 10000, 100000].flatMap((n) => [
    svg("text", { x: x(n), y: 190, "font-size": 10, fill: "currentColor" }, String(n)),
    svg("text", { x: 0, y: y(n), "font-size": 10, fill: "currentColor" }, String(n))]);
  const chart = svg("svg", { viewBox: "0 -40 400 240", width: 400, role: "img",
    "aria-label": "entities, upwards, by number of images, to the right; both logarithmic" });
  chart.append(...dots, ...ticks);
  return chart;
}

const similarityOf = (value, id) => value.find((one) => one.id === id)?.similarity ?? NaN;

function entityButton(one, { element, show }) {
  const button = element("button", "", named(one));
  button.type = "button";
  button.addEventListener("click", () => show({
    title: named(one),
    test: (value) => value.length > 0 && value[0].id === one.id,
    orders: [
      { title: `most like ${named(one)}`, rank: (value) => -similarityOf(value, one.id) },
      { title: `least like ${named(one)}`, rank: (value) => similarityOf(value, one.id) }],
  }));
  return button;
}

lesstextReport.panel(NAME, {
  title: "Entities",
  words: (value) => value.map((one) => `${one.text} ${one.id}`).join(" "),
  card: (value, { element, number }) => value.length
    ? element("span", "", `${value[0].text}: ${value[0].similarity.toFixed(3)}`) : null,
  detail: (value, { element }) => table(element, ["entity", "similarity"],
    value.map((one) => [named(one), one.similarity.toFixed(4)])),
  orders: [
    { title: "most certain entity", rank: (value) => (value.length ? -value[0].similarity : 9) },
    { title: "least certain entity", rank: (value) => (value.length ? value[0].similarity : 9) },
    { title: "most confused entities", rank: margin },
  ],
  labels: (value) => value.map((one) => ({ id: one.id, title: named(one) })),
  whole: (value, tools) => {
    const { element, number } = tools;
    return element("div", "",
      element("p", "", `${number(value.noMention)} images whose captions mention nothing, ` +
        `${number(value.notLinked)} whose mentions are linked to nothing, ` +
        `${number(value.withCandidates)} with candidates.`),
      element("h3", "", "Images below a threshold"),
      table(element, ["similarity of the best candidate", "images below"],
        value.below.map(([threshold, n]) => [threshold.toFixed(4), number(n)])),
      element("h3", "", "Images per entity: the long tail"), longTail(value.tail, tools),
      element("h3", "", "Entities with the most images"),
      element("p", "quiet", "An image counts for its most similar candidate. Choose an entity to " +
        "see its images below, the most similar first; “Order” turns that around."),
      element("div", "long", table(element, ["entity", "images", "lowest", "mean", "highest"],
        value.entities.map((one) => [entityButton(one, tools), number(one.n),
          ...one.similarities.map((s) => s.toFixed(3))]))),
      element("h3", "", "Most confused pairs"),
      table(element, ["entity", "and", "images", "mean margin"], value.confused.map(
        ([a, b, n, m]) => [a, b, number(n), m.toFixed(4)])));
  },
});
"""


class PicksPanel(Panel):
    """Shows entities: per image all candidates, over all images counts, tail and confusions.

    An image counts for its most similar candidate. Two entities are confused in an image where
    both lead its candidates and the margin is among the smallest tenth.
    """

    columns = ("picks",)
    script = _SCRIPT

    def sample(self, row: Mapping[str, Any]) -> Any:
        if row.get("picks") is None:
            return None
        return [
            {
                "id": one["entity_id"],
                "text": str(one["text"] or "")[:MAX_TEXT_CHARS],
                "similarity": one["similarity"],
            }
            for one in row["picks"][:_MAX_PICKS]
        ]

    def whole(self, ask: Ask) -> Any:
        ((no_mention, not_linked, n_candidates),) = ask(
            """SELECT count_if(n_mentions = 0), count_if(n_mentions > 0 AND n_candidates = 0),
            count_if(n_candidates > 0) FROM rows WHERE status = 'ok'"""
        )
        return {
            "noMention": no_mention,
            "notLinked": not_linked,
            "withCandidates": n_candidates,
            "below": _below(ask) if n_candidates else [],
            "tail": ask(
                """SELECT n, count(*) FROM (SELECT count(*) AS n FROM rows
                WHERE status = 'ok' AND best_entity IS NOT NULL GROUP BY best_entity)
                GROUP BY n ORDER BY n"""
            ),
            "entities": _entities(ask),
            "confused": _confused(ask),
        }


def _below(ask: Ask) -> list[tuple[float, int]]:
    """At each tenth of the images with candidates, its threshold and how many are below it."""
    shares = [tenth / 10 for tenth in range(1, 10)]
    query = f"SELECT quantile_disc(best_similarity, {shares}) FROM rows WHERE status = 'ok'"
    thresholds = sorted(set(ask(query)[0][0]))
    counts = ", ".join(f"count_if(best_similarity < {value!r})" for value in thresholds)
    (found,) = ask(f"SELECT {counts} FROM rows WHERE status = 'ok'")
    return list(zip(thresholds, found, strict=True))


def _entities(ask: Ask) -> list[dict[str, Any]]:
    found = ask(
        f"""SELECT best_entity, mode(picks[1].text), count(*), min(best_similarity),
        avg(best_similarity), max(best_similarity) FROM rows
        WHERE status = 'ok' AND best_entity IS NOT NULL
        GROUP BY best_entity ORDER BY count(*) DESC, best_entity LIMIT {_MAX_ENTITIES}"""
    )
    return [
        {"id": id, "text": text or "", "n": n, "similarities": list(similarities)}
        for id, text, n, *similarities in found
    ]


def _confused(ask: Ask) -> list[tuple[Any, ...]]:
    return ask(
        f"""SELECT mode(list_sort(texts)[1]), mode(list_sort(texts)[2]), count(*), avg(margin)
        FROM (SELECT *, quantile_disc(margin, 0.1) OVER () AS cut FROM (
            SELECT picks[1].similarity - picks[2].similarity AS margin,
            [picks[1].text, picks[2].text] AS texts,
            [picks[1].entity_id, picks[2].entity_id] AS ids
            FROM rows WHERE status = 'ok' AND n_candidates > 1))
        WHERE margin <= cut GROUP BY list_sort(ids)
        ORDER BY count(*) DESC, avg(margin) LIMIT {_MAX_ROWS}"""
    )
