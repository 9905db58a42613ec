"""Put faults into the core modules one at a time, and see whether the tests notice.

    python scripts/mutate.py --sample 40 --seed 1
    python scripts/mutate.py --module lesstext/geometry.py       # all its mutants
    python scripts/mutate.py --survivors                         # those that survived, again

Faults are cosmic-ray's and a few of our own (scripts/mutation/operators.py), made in a copy of the
repository; what is left out by rule stands in scripts/mutation/exclusions.py, which tests guard
which modules in scripts/mutation/areas.py. A fault is noticed when a test fails, or takes more
than eight times its usual time and 12 seconds. A fault is tried by the tests that
run its line in their own process (by all of its area where there is none), fast ones first, as
many as --budget-s allows; so more may be noticed than is said, never less. A run that was cut goes
on where it stopped, as long as neither the module nor its tests have changed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mutation.areas import AREAS, ROOT, Area
from mutation.mutants import Mutant, digest, mutants_of, mutated, sample
from mutation.results import Outcome, append, change_of, read_log, summary
from mutation.tree import copy_tree, enter, replaced
from mutation.trial import Baseline, measure_baseline, try_tests, warm_up

_RESULT = ROOT / "scripts" / "results" / "mutation.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run tries of one area."""

    name: str
    area: Area
    mutants: list[Mutant]
    tests_digest: str


def main() -> None:
    arguments = _arguments()
    log: Path = arguments.log
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        tree = copy_tree(Path(folder) / "tree")
        enter(tree, Path(folder))
        warm_up()
        plans = [_plan(name, arguments, counts) for name in arguments.area or AREAS]
        keys = {_key(mutant) for plan in plans for mutant in plan.mutants}
        for plan in plans:
            _run(plan, log, arguments.budget_s)
    found = [outcome for key, outcome in read_log(log).items() if key in keys]
    _write(summary(found, counts), arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, metavar="N", help="places of each area; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--area", action="append", choices=list(AREAS), help="default all")
    parser.add_argument("--module", action="append", help="only these modules")
    parser.add_argument("--survivors", action="store_true", help="only what survived before")
    parser.add_argument("--budget-s", type=float, default=30.0, help="of tests for each fault")
    parser.add_argument("--log", type=Path, default=ROOT / ".mutation.jsonl", help="to go on from")
    parser.add_argument("--out", type=Path, default=_RESULT, help="JSON summary to write")
    arguments = parser.parse_args()
    arguments.log, arguments.out = arguments.log.resolve(), arguments.out.resolve()
    return arguments


def _plan(name: str, arguments: argparse.Namespace, counts: dict[str, int]) -> Plan:
    area = AREAS[name]
    mutants: list[Mutant] = []
    for module in area.module_paths(Path.cwd()):
        if not arguments.module or module in arguments.module:
            found = mutants_of(module, _source(module))
            counts[module] = len(found)
            mutants += found
    if arguments.survivors:
        survived = {key for key, one in read_log(arguments.log).items() if not one.noticed_by}
        mutants = [mutant for mutant in mutants if _key(mutant) in survived]
    elif arguments.sample:
        mutants = sample(mutants, arguments.sample, arguments.seed)
    tests = digest("".join(Path(path).read_text("utf-8") for path in area.test_paths(Path.cwd())))
    return Plan(name=name, area=area, mutants=mutants, tests_digest=tests)


def _source(module: str) -> str:
    """The module as it is in the copy: the repository may change meanwhile."""
    return Path(module).read_text(encoding="utf-8")


def _key(mutant: Mutant) -> str | None:
    text = mutated(_source(mutant.module), mutant)
    return text and digest(f"{mutant.module}\n{text}")


def _run(plan: Plan, log: Path, budget_s: float) -> None:
    """Try the area's mutants that the log does not hold yet."""
    known = {key for key, one in read_log(log).items() if one.tests == plan.tests_digest}
    left = [mutant for mutant in plan.mutants if (key := _key(mutant)) and key not in known]
    if not left:
        return
    baseline = measure_baseline(
        plan.area.test_paths(Path.cwd()), plan.area.module_paths(Path.cwd())
    )
    print(
        f"{plan.name}: {len(left)} mutants, {len(baseline.seconds)} tests in "
        f"{sum(baseline.seconds.values()):.0f} s, failing without a fault: "
        f"{sorted(baseline.failed) or 'none'}",
        flush=True,
    )
    _refuse_false_alarms(baseline)
    for mutant in left:
        outcome = _try(plan, mutant, baseline, budget_s)
        append(log, outcome)
        noticed = outcome.noticed_by or "SURVIVED"
        print(f"{mutant.module}:{mutant.line} {outcome.change}  [{noticed}]", flush=True)


def _refuse_false_alarms(baseline: Baseline) -> None:
    """End when tests notice something though there is no fault."""
    sound = baseline.order("", 0, budget_s=10.0)
    noticed = try_tests(sound, baseline.seconds).noticed_by
    if noticed or not sound:
        raise SystemExit(f"without a fault, {noticed or 'no test'} fails or takes too long")


def _try(plan: Plan, mutant: Mutant, baseline: Baseline, budget_s: float) -> Outcome:
    source = _source(mutant.module)
    text = mutated(source, mutant) or source
    tests = baseline.order(mutant.module, mutant.line, budget_s)
    with replaced(Path(mutant.module), text):
        verdict = try_tests(tests, baseline.seconds)
    return Outcome(
        area=plan.name,
        module=mutant.module,
        line=mutant.line,
        operator=mutant.operator,
        change=change_of(source, text),
        noticed_by=verdict.noticed_by,
        key=_key(mutant) or "",
        tests=plan.tests_digest,
    )


def _write(areas: dict[str, object], arguments: argparse.Namespace) -> None:
    told = {"sample": arguments.sample, "seed": arguments.seed, "areas": areas}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{arguments.out}: {_line(areas)}")


def _line(areas: dict[str, object]) -> str:
    return ", ".join(
        f"{name} {area['caught']}/{area['tried']}"
        for name, area in areas.items()
        if isinstance(area, dict)
    )


if __name__ == "__main__":
    main()
