"""Recomputes one cheap row of each table that has its raw JSON here, and compares: .venv/bin/python docs/results/check.py

Ends with 1 where a number differs by more than another machine's rounding explains.
"""

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from privlens.audit.leaks import LeakSettings, leaks
from privlens.bench import deletion, erasing, injection, leaking
from privlens.bench.repeats import by_repeats
from privlens.deactivation import EvalContext, memorization_states, reference_perplexity
from privlens.erasure import ErasureSettings, method_settings
from privlens.memorization import states
from privlens.memorization.extraction import log10_tries
from privlens.neurons.universal import UniversalRequest, UniversalSettings
from privlens.neurons.universal import universal as shared
from privlens.planting import recipe
from privlens.planting.plant import PlantSettings
from privlens.recorded import read_example
from privlens.resources import RECORDED, REFERENCE, SECRETS
from privlens.secret_lists import read_reference, read_secrets
from privlens.types import Secret
from privlens.zoo.loading import load
from privlens.zoo.planted import planted_truth

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-3
"""Relative; float32 sums in another order differ by some 1e-6, a changed method by far more."""
OF_TRAINING = {"steps": 0.02, "recall": 0.1}
"""The same for columns of what is trained anew. Rounding, which differs between processors, can decide in which step a plant is
learnt (195 or 194), and a neuron of twelve more or fewer is found in it then."""
Row = dict[str, Any]


def memorized() -> tuple[Row, Row]:
    """The controls and the secrets that were seen 64 times: the row of the latter, recorded and anew."""
    recorded = json.loads((DATA / "memorized.json").read_text())["rows"][-1]
    listed = [row for row in read_secrets(SECRETS) if row.repeats == recorded["repeats"]]
    [anew] = by_repeats(load("demo"), listed, 0)
    return recorded, anew


def deletion_of_one(name: str, method: str) -> tuple[Row, Row]:
    """A method on the first target of the table, recorded and anew."""
    recorded = json.loads((DATA / name).read_text())
    row = next(one for one in recorded["each"] if one["method"] == method)
    lm, secrets = load("demo"), [listed.secret for listed in read_secrets(SECRETS)]
    settings = recorded["settings"]
    trial = deletion.trials(lm, secrets, read_reference(REFERENCE), settings["n"], settings["seed"], settings["site"])[0]
    scores = deletion.localized(lm, trial, row["method"])
    anew = deletion.deletion(lm, trial, scores, round(row["share"] * scores.n_neurons), row["budget"])
    names = ("match", "accuracy", "nll_change", "seen_kept", "unseen_kept", "n_unseen", "perplexity_ratio")
    return {name: row[name] for name in names}, {name: getattr(anew, name) for name in names}


def quantized(dtype: str) -> tuple[Row, Row]:
    """The secrets that were seen 64 times, in 8 or 4 bits, without their exposure, which takes half a minute."""
    recorded = json.loads((DATA / f"memorized-{dtype}.json").read_text())["rows"][-1]
    listed = [row.secret for row in read_secrets(SECRETS) if row.repeats == recorded["repeats"]]
    states = memorization_states(load("demo", dtype=dtype), listed, (), EvalContext())
    names = ("greedy_match", "memorization_accuracy", "nll")
    return {name: recorded[name] for name in names}, {name: fmean(getattr(state, name) for state in states) for name in names}


def injected(name: str, method: str) -> tuple[Row, Row]:
    """The first plant of a table, and what a method finds of it."""
    recorded = json.loads((DATA / name).read_text())
    first, settings = recorded["plants"][0], recorded["settings"]
    planting = PlantSettings(settings["ratio"], settings["planting"] == "fair", settings["steps"])
    [(planted, recalls)] = injection.run(load(settings["model"]), [method], planting, 1, settings["seed"], lambda line: None)
    return _of_plant(first, method), _of_plant(injection.described(planted, recalls), method)


def recalled(method: str) -> tuple[Row, Row]:
    """What a method finds of the first plant in smollm2+planted."""
    recorded = json.loads((DATA / "recall.json").read_text())
    (prompt, value), neurons = next(iter(planted_truth().items()))
    lm, seed = load(recorded["settings"]["model"]), recorded["settings"]["seed"]
    [ranking] = injection.rankings(lm, Secret(prompt, value), [method], seed)
    return _of_plant(recorded["plants"][0], method), _of_plant({"methods": injection.found_by([ranking.judged(neurons)])}, method)


def planted() -> tuple[Row, Row]:
    """What smollm2+planted writes."""
    return json.loads((DATA / "planted.json").read_text()), recipe.check_shipped()


def _of_plant(described: Row, method: str) -> Row:
    """One method's numbers, and the steps that the plant took where it was made."""
    found = described["methods"][method]
    return {"steps": described.get("steps"), "recall": found["recall"][0], "AUC": found["auc"]}


def opening() -> tuple[Row, Row]:
    """The example that the page opens with, its recorded neurons off: how deep it is and what ordinary text pays."""
    recorded = json.loads((DATA / "opening.json").read_text())
    row = next(row for row in recorded["rows"] if row["value"] == recorded["chosen"]["value"])
    lm, example, context = load("demo"), read_example(RECORDED), EvalContext(reference=read_reference(REFERENCE))
    [state] = memorization_states(lm, [example.secret], example.off, context)
    before, after = (reference_perplexity(lm, off, context) for off in ((), example.off))
    assert before and after, "the reference text is given"
    anew = {"neurons": len(example.off), "log10_tries": log10_tries(state.logprob), "perplexity_ratio": after / before}
    return {name: row[name] for name in anew}, anew


def erasure(name: str, method: str) -> tuple[Row, Row]:
    """The method's draw that took the fewest steps."""
    recorded = json.loads((DATA / name).read_text())
    row = min((row for row in recorded["each"] if row["method"] == method), key=lambda row: row["steps"])
    lm, listed, reference = load("demo"), read_secrets(SECRETS), read_reference(REFERENCE)
    seed, secrets = recorded["settings"]["seed"], [entry.secret for entry in listed]
    trial = erasing.trials(lm, secrets, row["n_forget"], row["draw"] + 1, seed)[-1]
    edit = erasing.erased(lm, trial, reference, method_settings(method, ErasureSettings()), seed).result
    assert edit, "an erasure ends with its edit"
    reworded = {entry.secret: entry.reworded for entry in listed}
    anew = erasing.measured(lm, trial, edit, reworded, reference, seed)
    return {name: row[name] for name in anew}, anew


def leaked() -> tuple[Row, Row]:
    """How many of each kind `leaks` finds."""
    recorded = json.loads((DATA / "leaks.json").read_text())
    lm, listed = load("demo"), read_secrets(SECRETS)
    *_, last = leaks(lm, LeakSettings(seed=recorded["settings"]["seed"]))
    assert last.result, "the last step has the result"
    anew = leaking.rows(last.result, listed, states.known(lm, [row.secret for row in listed]))
    return {row["what"]: row["k"] for row in recorded["rows"]}, {row["what"]: row["k"] for row in anew}


def universal() -> tuple[Row, Row]:
    """How many neurons of demo another seed's model has too."""
    recorded = json.loads((DATA / "universal.json").read_text())["universal"]
    settings = UniversalSettings(ablated=0.0)
    request = UniversalRequest(load("demo"), load("demo-seed1"), tuple(read_reference(REFERENCE)), settings=settings)
    *_, last = shared(request)
    assert last.result, "the last step has the result"
    return {name: recorded[name] for name in ("k", "n")}, {"k": last.result.universal.k, "n": last.result.universal.n}


CHECKS: dict[str, Callable[[], tuple[Row, Row]]] = {
    "memorized.json": memorized,
    "memorized-int8.json": partial(quantized, "int8"),
    "memorized-int4.json": partial(quantized, "int4"),
    "deletion.json": partial(deletion_of_one, "deletion.json", "stepwise"),
    "opening.json": opening,
    "injection-0.001.json": partial(injected, "injection-0.001.json", "token-gradient"),
    "injection-0.01.json": partial(injected, "injection-0.01.json", "token-gradient"),
    "injection-slow-0.001.json": partial(injected, "injection-slow-0.001.json", "slimming"),
    "injection-slow-0.01.json": partial(injected, "injection-slow-0.01.json", "slimming"),
    "deletion-all-methods.json": partial(deletion_of_one, "deletion-all-methods.json", "token-gradient"),
    "deletion-both-sites.json": partial(deletion_of_one, "deletion-both-sites.json", "contrastive-gradient"),
}
SLOW: dict[str, Callable[[], tuple[Row, Row]]] = {
    "erase-1.json": partial(erasure, "erase-1.json", "emso"),
    "erase-8.json": partial(erasure, "erase-8.json", "emso"),
    "erase-32.json": partial(erasure, "erase-32.json", "emso"),
    "leaks.json": leaked,
    "universal.json": universal,
    "planted.json": planted,
    "recall.json": partial(recalled, "token-gradient"),
    "injection-smollm2.json": partial(injected, "injection-smollm2.json", "token-gradient"),
}
"""A minute or two each, or of smollm2, which is no part of the repository: left out of the tests."""


def differing(recorded: Row, anew: Row) -> list[str]:
    """The columns whose numbers differ, with both."""

    def agree(name: str, before: Any, now: Any) -> bool:
        tolerance = OF_TRAINING.get(name, TOLERANCE)
        return before == now or (None not in (before, now) and math.isclose(before, now, rel_tol=tolerance, abs_tol=tolerance))

    return [
        f"{name}: {recorded[name]} in the repository, {anew[name]} now"
        for name in recorded
        if not name.endswith("interval") and not agree(name, recorded[name], anew[name])
    ]


def main() -> int:
    wrong = 0
    for name, check in (CHECKS | SLOW).items():
        found = differing(*check())
        print(f"{name}: {'; '.join(found) or 'as recorded'}")
        wrong += bool(found)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
