"""The same objects for people: aligned lines with units. Private and generated text is quoted, its control characters escaped."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

Json = dict[str, Any]


def show(found: Json, as_json: bool, table: Callable[[Json], str]) -> None:
    """Prints the object, as one line of JSON or as its table."""
    print(json.dumps(found) if as_json else table(found))


def measured(found: Json) -> str:
    """What `bench` prints without --json: the rows as a table, and the settings below."""
    cells = [{name: _ends(cell) if isinstance(cell, tuple) else cell for name, cell in row.items()} for row in found["rows"]]
    rows = pd.DataFrame(cells).to_string(index=False, float_format=lambda number: f"{number:.3f}")
    return f"{rows}\n{json.dumps(found['settings'])}"


def memorization(found: Json) -> str:
    """What `check` prints without --json."""
    control = found["control"]
    facts = [
        ("model", f"{found['model']} ({found['fingerprint']})"),
        ("greedy match", _yes(found["greedy_match"])),
        ("continuation", _quoted(found["continuation"])),
        ("NLL", f"{found['nll']:.3f} nats/token"),
        ("memorization accuracy", f"{found['memorization_accuracy']:.1%}"),
        ("extraction strength", f"{found['extraction_strength']:.1%}"),
        ("extraction likelihood", f"{found['extraction_likelihood']:.1%}"),
        ("exposure", _exposure(found)),
        ("candidate space", found["candidate_space"]),
    ]
    if control:
        numbers = f"exposure {_exposure(control)}, NLL {control['nll']:.3f} nats/token"
        facts.append(("control", f"{_quoted(control['value'])}, which nobody trained on: {numbers}"))
    tokens = [(_quoted(one["token"]), f"{one['logprob']:.3f}", str(one["rank"])) for one in found["tokens"]]
    return _pairs(facts) + "\n\n" + _columns(("token", "log-probability (nats)", "rank"), tokens)


def localization(found: Json, at_most: int = 20) -> str:
    """What `localize` prints without --json: the best few neurons."""
    natural = found["suggested_k"]
    facts = [
        ("model", f"{found['model']} ({found['fingerprint']})"),
        ("method", f"{found['method']}, seed {found['seed']}, {found['seconds']:.1f} s"),
        ("neurons", f"{found['k']} of {found['n_neurons']} ({found['k'] / found['n_neurons']:.2%})"),
        ("closed by the method itself", "it has no opinion" if natural is None else str(natural)),
    ]
    best = [(str(layer), str(index), f"{score:.4g}") for layer, index, score in found["neurons"][:at_most]]
    more = f"\n... and {found['k'] - at_most} more; all are in the JSON object (--json, --out)" if found["k"] > at_most else ""
    return _pairs(facts) + "\n\n" + _columns(("layer", "neuron", "score"), best) + more


def comparison(found: Json) -> str:
    """What `deactivate` prints without --json: chosen beside random neurons, then the others that changed."""
    target = found["target"]
    facts = [
        ("model", f"{found['model']} ({found['fingerprint']})"),
        ("neurons off", str(len(found["neurons"]))),
        ("prompt", _quoted(target["prompt"])),
        ("before", _quoted(target["before"]["text"])),
        ("after", _quoted(target["after"]["text"])),
        *whose([target]),
        ("after, random", _quoted(found["random"]["target"]["after"]["text"])),
    ]
    parts = {"others kept": None} if found["unseen"] is None else {"unseen kept": "unseen", "seen kept": "seen"}
    if found["unseen"] is None:
        facts.append(("others", "the file does not say which of them the method saw, so all are counted together"))
    else:
        facts.append(("others", _judges(found["unseen"]["memorized"])))
    counts = [found[part] if part else found for part in parts.values()]
    rows = [("all on", *_numbers(target["before"]), *(_kept({**one, "kept": one["memorized"]}) for one in counts), "x1.0000")]
    for name, outcome in (("chosen off", found), ("random off", found["random"])):
        ratio = outcome["perplexity"]["ratio"]
        kept = [_kept(outcome[part] if part else outcome) for part in parts.values()]
        rows.append((name, *_numbers(outcome["target"]["after"]), *kept, "-" if ratio is None else f"x{ratio:.4f}"))
    header = ("neurons", "match", "NLL (nats/token)", "accuracy", "exposure", *parts, "perplexity")
    lost = [
        (_quoted(other["value"]), _quoted(other["after"]["text"]))
        for other in found["others"]
        if other["before"]["greedy_match"] and not other["after"]["greedy_match"]
    ]
    damage = "\n\nOthers lost:\n" + _columns(("value", "the model now writes"), lost) if lost else ""
    return _pairs(facts) + "\n\n" + _columns(header, rows) + damage


def erasure(found: Json, at_most: int = 20) -> str:
    """What `erase` prints without --json: the targets before and after, what is left of the rest, and the attacks."""
    settings, ratio = found["settings"], found["perplexity_ratio"]
    facts = [
        ("model", f"{found['model']} ({found['fingerprint']})"),
        ("method", f"{settings['method']}, seed {found['seed']}, {found['steps']} steps, {found['seconds']:.1f} s"),
        ("ended", found["ended"]),
        ("weights changed", str(found["n_weights"])),
        ("others kept, never seen", _kept(found["unseen"]) if found["unseen"]["memorized"] else _judges(0)),
        ("others kept, seen", _kept(found["seen"])),
        ("perplexity", "-" if ratio is None else f"x{ratio:.4f}"),
        ("edit", found["edit"]),
    ]
    states = [
        (_quoted(one["value"]), name, *_numbers(one[name]), _quoted(one[name]["text"]))
        for one in found["targets"][:at_most]
        for name in ("before", "after")
    ]
    header = ("value", "", "match", "NLL (nats/token)", "accuracy", "exposure", "text")
    theirs = whose(found["targets"])
    others = [_pairs(theirs)] if theirs else []
    return "\n\n".join([_pairs(facts), _columns(header, states), *others, *_attacks(found["attacks"])])


def whose(targets: Sequence[Json]) -> list[tuple[str, str]]:
    """A line for each target in whose place another listed person's data is written."""
    words = {"equal": "is", "near": "is nearly", "part": "has a word of"}
    return [
        (
            "another person's data",
            f"{_quoted(one['after']['text'])} {words[owner['match']]} the value of row {owner['row']}, {_quoted(owner['value'])}",
        )
        for one in targets
        if (owner := one["after"]["listed_owner"])
    ]


def _attacks(tried: Sequence[Json]) -> list[str]:
    """The table of attacks, and what else is to be known of them; nothing where none was tried."""
    shares = ("before", "after", "chance", "limit")
    rows = [
        (
            one["name"],
            *(_share(one[name]) for name in shares),
            "-" if one["limit"] is None else _yes(one["found_something"]),
            str(one["n_values"]),
            one["detail"],
        )
        for one in tried
    ]
    header = ("attack", *shares, "above it", "values", "what is counted")
    said = (
        "chance: the mean of so many values that nobody trained on; limit: what these exceed, in any of the attacks, in at most "
        "5 % of cases"
    )
    notes = [f"{one['name']}: {one['note']}" for one in tried if one["note"]]
    return ["\n".join([_columns(header, rows), said, *notes])] if tried else []


def applied(found: Json) -> str:
    """What `apply` prints without --json."""
    return _pairs([("model", f"{found['model']} ({found['fingerprint']})"), ("written to", found["folder"])])


def method_comparison(found: Json) -> str:
    """What `compare` prints without --json: what the best k of every method do, then whose best k are the same."""
    on = found["settings"]
    facts = [
        ("model", f"{found['model']} ({found['fingerprint']})"),
        ("secret", _quoted(found["target"]["value"])),
        ("judged on", f"{on['n_unseen']} of {on['n_unseen_known']} memorized secrets that no method was given"),
        ("and on", f"{on['n_reference']} paragraphs; exposure is the rank among {on['n_candidates']} values"),
    ]

    rows = [
        (
            row["method"],
            str(row["k"]),
            _yes(row["target_match"]),
            f"{row['target_nll']:.3f}",
            "-" if row["target_exposure_bits"] is None else f"{row['target_exposure_bits']:.2f}",
            _share(row["others_kept"]),
            "-" if row["perplexity_ratio"] is None else f"x{row['perplexity_ratio']:.4f}",
        )
        for row in found["rows"]
    ]
    header = ("method", "k", "match", "NLL (nats/token)", "exposure (bits)", "unseen kept", "perplexity")
    same = found["overlap"]
    cells = [(name, *(f"{one:.3f}" for one in row)) for name, row in zip(same["methods"], same["jaccard"], strict=True)]
    title = f"Jaccard index of the best {same['k']} neurons; two random sets: {same['chance']:.3f}"
    return "\n\n".join([_pairs(facts), _columns(header, rows), f"{title}\n" + _columns(("", *same["methods"]), cells)])


def _numbers(state: Json) -> tuple[str, ...]:
    return _yes(state["greedy_match"]), f"{state['nll']:.3f}", f"{state['memorization_accuracy']:.1%}", _exposure(state)


def _exposure(state: Json) -> str:
    """With the most that is possible in its space and what chance would give."""
    if state["exposure_bits"] is None:
        return "-"
    bits, most, chance = (state[name] for name in ("exposure_bits", "max_exposure_bits", "chance_exposure_bits"))
    return f"{bits:.2f} of {most:.2f} bits (chance {chance:.2f})"


def _ends(interval: tuple[float, float]) -> str:
    return " to ".join(f"{end:.3f}" for end in interval)


def _kept(count: Json) -> str:
    return f"{count['kept']} of {count['memorized']}" if count["memorized"] else "none"


def _judges(n_unseen: int) -> str:
    """How many others can judge what was kept; the others are kept by whoever was shown them."""
    return f"{n_unseen} that the method never saw" if n_unseen else "none that the method never saw: what is kept is not judged"


def _share(number: float | None) -> str:
    return "-" if number is None else f"{number:.1%}"


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _pairs(facts: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name.ljust(width)}  {fact}" for name, fact in facts)


def _columns(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
