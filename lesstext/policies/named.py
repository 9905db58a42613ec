"""Policies that have names, as rules over tables, with their published parameters as defaults.

| policy | keeps | from |
|---|---|---|
| `less-is-more` | images whose text-area ratio is at most 0.005 (our choice; the paper drops all that its detector marks) | Cao et al. 2023, arXiv 2305.05095 |
| `t-mars` | the half (our choice) whose caption fits best once the text is hidden | Maini et al. 2023, arXiv 2307.03132 |
| `parrot` | images that show no word of their caption | Lin et al. 2023, arXiv 2312.14232 |
| `clip-score` | the 30% whose caption fits best | Gadre et al. 2023 (DataComp), arXiv 2304.14108 |
| `random` | a share drawn at random: the baseline of the others | |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from lesstext.errors import UsageError
from lesstext.policies import text_area
from lesstext.tables.rule import Rule

PolicyName = Literal["less-is-more", "t-mars", "parrot", "clip-score", "random"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
LESS_IS_MORE_RATIO = 0.005
T_MARS_FRACTION = 0.5
CLIP_SCORE_FRACTION = 0.3
DATACOMP_SCORE = "meta.clip_l14_similarity_score"
_SCORE = "`lesstext score SHARDS --out SCORES`"
_WORDS = (
    "`lesstext annotate words SHARDS --out WORDS` and "
    "`lesstext annotate overlap SHARDS --input words=WORDS --out OVERLAP`"
)
_SIMILARITY = "`lesstext annotate similarity SHARDS --model MODEL --out SIMILARITY`"
_MASKED = f"{_SCORE} and {_SIMILARITY[:-1]} --input text_area=SCORES`"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyParameters:
    """What a user sets otherwise than a policy does; None is the policy's own value.

    `max_text_area` is less-is-more's ratio, `keep_fraction` the share of t-mars, clip-score and
    random, `max_overlap` parrot's share of the caption's words, all in [0, 1]; `fuzzy` lets parrot
    compare letters. `score` is the column that clip-score goes by. `where` is an expression that
    what is kept must meet besides.
    """

    max_text_area: float | None = None
    keep_fraction: float | None = None
    max_overlap: float | None = None
    fuzzy: bool = False
    score: str | None = None
    where: str | None = None
    seed: int = 0
    keep_failed: bool = False


def policy_rule(name: str, given: PolicyParameters | None = None) -> Rule:
    """The rule that a policy stands for.

    >>> policy_rule("parrot").policy_where
    'caption_overlap <= 0.0::FLOAT'
    >>> policy_rule("t-mars").keep_fraction, policy_rule("t-mars").by
    (0.5, 'masked_similarity')

    Raises UsageError for an unknown policy, and for parameters that are not its own.
    """
    given = given or PolicyParameters()
    if name not in _BUILDERS:
        raise UsageError(f"no policy {name!r}; there are {', '.join(POLICIES)}")
    takes, build = _BUILDERS[name]
    _refuse_others(name, takes, given)
    return build(given)


def _less_is_more(given: PolicyParameters) -> Rule:
    ratio = LESS_IS_MORE_RATIO if given.max_text_area is None else given.max_text_area
    return _where("less-is-more", given, text_area.at_most(ratio).where or "", _SCORE)


def _parrot(given: PolicyParameters) -> Rule:
    overlap = given.max_overlap or 0.0
    if not 0 <= overlap <= 1:
        raise UsageError(f"--max-overlap must be within 0 to 1, got {overlap}")
    column = "fuzzy_caption_overlap" if given.fuzzy else "caption_overlap"
    return _where("parrot", given, f"{column} <= {float(overlap)!r}::FLOAT", _WORDS)


def _t_mars(given: PolicyParameters) -> Rule:
    return _highest("t-mars", given, T_MARS_FRACTION, "masked_similarity", _MASKED)


def _clip_score(given: PolicyParameters) -> Rule:
    by = given.score or "similarity"
    made_by = (
        f"{_SIMILARITY}, or name DataComp's column: --score {DATACOMP_SCORE} --metadata FOLDER"
    )
    return _highest("clip-score", given, CLIP_SCORE_FRACTION, by, made_by)


def _random(given: PolicyParameters) -> Rule:
    if given.keep_fraction is None:
        raise UsageError("--policy random needs --keep-fraction")
    return Rule(
        policy="random",
        where=given.where,
        keep_fraction=given.keep_fraction,
        at_random=True,
        seed=given.seed,
        keep_failed=given.keep_failed,
    )


def _where(name: str, given: PolicyParameters, where: str, made_by: str) -> Rule:
    return Rule(
        policy=name,
        policy_where=where,
        where=given.where,
        seed=given.seed,
        keep_failed=given.keep_failed,
        made_by=made_by,
    )


def _highest(name: str, given: PolicyParameters, fraction: float, by: str, made_by: str) -> Rule:
    return Rule(
        policy=name,
        where=given.where,
        keep_fraction=fraction if given.keep_fraction is None else given.keep_fraction,
        by=by,
        highest=True,
        seed=given.seed,
        keep_failed=given.keep_failed,
        made_by=made_by,
    )


def _refuse_others(name: str, takes: str, given: PolicyParameters) -> None:
    for parameter in ("max_text_area", "keep_fraction", "max_overlap", "fuzzy", "score"):
        if getattr(given, parameter) not in (None, False) and parameter not in takes.split():
            raise UsageError(f"--policy {name} takes no --{parameter.replace('_', '-')}")


_BUILDERS: dict[str, tuple[str, Callable[[PolicyParameters], Rule]]] = {
    "less-is-more": ("max_text_area", _less_is_more),
    "t-mars": ("keep_fraction", _t_mars),
    "parrot": ("max_overlap fuzzy", _parrot),
    "clip-score": ("keep_fraction score", _clip_score),
    "random": ("keep_fraction", _random),
}
