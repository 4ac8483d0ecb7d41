"""The objects as text for people: aligned lines with units. Private and generated text is quoted, control characters escaped."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

Json = dict[str, Any]


def show(report: Json, as_json: bool, table: Callable[[Json], str]) -> None:
    """Prints the object, as one line of JSON or as its table."""
    print(json.dumps(report) if as_json else table(report))


def measured(report: Json) -> str:
    """What `bench` prints without --json: the rows as a table, and the settings below."""
    cells = [{name: _interval(cell) if isinstance(cell, tuple) else cell for name, cell in row.items()} for row in report["rows"]]
    rows = pd.DataFrame(cells).to_string(index=False, float_format=lambda number: f"{number:.3f}")
    return f"{rows}\n{json.dumps(report['settings'])}"


def memorization(report: Json) -> str:
    """What `check` prints without --json."""
    control = report["control"]
    facts = [
        ("model", f"{report['model']} ({report['fingerprint']})"),
        ("greedy match", _yes(report["greedy_match"])),
        ("continuation", _quoted(report["continuation"])),
        ("NLL", f"{report['nll']:.3f} nats/token"),
        ("memorization accuracy", f"{report['memorization_accuracy']:.1%}"),
        ("extraction strength", f"{report['extraction_strength']:.1%}"),
        ("extraction likelihood", f"{report['extraction_likelihood']:.1%}"),
        ("exposure", _exposure(report)),
        ("candidate space", report["candidate_space"]),
    ]
    if control:
        numbers = f"exposure {_exposure(control)}, NLL {control['nll']:.3f} nats/token"
        facts.append(("control", f"{_quoted(control['value'])}, which nobody trained on: {numbers}"))
    tokens = [(_quoted(token["token"]), f"{token['logprob']:.3f}", str(token["rank"])) for token in report["tokens"]]
    return _pairs(facts) + "\n\n" + _columns(("token", "log-probability (nats)", "rank"), tokens)


def localization(report: Json, at_most: int = 20) -> str:
    """What `localize` prints without --json: the best few neurons."""
    suggested_k = report["suggested_k"]
    facts = [
        ("model", f"{report['model']} ({report['fingerprint']})"),
        ("method", f"{report['method']}, seed {report['seed']}, {report['seconds']:.1f} s"),
        ("neurons", f"{report['k']} of {report['n_neurons']} ({report['k'] / report['n_neurons']:.2%})"),
        ("suggested k", "the method suggests none" if suggested_k is None else str(suggested_k)),
    ]
    best = [(str(layer), str(index), f"{score:.4g}") for layer, index, score in report["neurons"][:at_most]]
    more = f"\n... and {report['k'] - at_most} more; all are in the JSON object (--json, --out)" if report["k"] > at_most else ""
    return _pairs(facts) + "\n\n" + _columns(("layer", "neuron", "score"), best) + more


def comparison(report: Json) -> str:
    """What `deactivate` prints without --json: chosen beside random neurons, then the others that changed."""
    target = report["target"]
    facts = [
        ("model", f"{report['model']} ({report['fingerprint']})"),
        ("neurons off", str(len(report["neurons"]))),
        ("prompt", _quoted(target["prompt"])),
        ("before", _quoted(target["before"]["text"])),
        ("after", _quoted(target["after"]["text"])),
        *whose([target]),
        ("after, random", _quoted(report["random"]["target"]["after"]["text"])),
    ]
    parts = {"others kept": None} if report["unseen"] is None else {"unseen kept": "unseen", "seen kept": "seen"}
    if report["unseen"] is None:
        facts.append(("others", "the file does not say which of them the method saw, so all are counted together"))
    else:
        facts.append(("others", _judges(report["unseen"]["memorized"])))
    counts = [report[part] if part else report for part in parts.values()]
    rows = [
        ("all on", *_numbers(target["before"]), *(_kept({**count, "kept": count["memorized"]}) for count in counts), "x1.0000")
    ]
    for name, outcome in (("chosen off", report), ("random off", report["random"])):
        ratio = outcome["perplexity"]["ratio"]
        kept = [_kept(outcome[part] if part else outcome) for part in parts.values()]
        rows.append((name, *_numbers(outcome["target"]["after"]), *kept, "-" if ratio is None else f"x{ratio:.4f}"))
    header = ("neurons", "match", "NLL (nats/token)", "accuracy", "exposure", *parts, "perplexity")
    lost = [
        (_quoted(secret["value"]), _quoted(secret["after"]["text"]))
        for secret in report["others"]
        if secret["before"]["greedy_match"] and not secret["after"]["greedy_match"]
    ]
    damage = "\n\nOthers lost:\n" + _columns(("value", "the model now writes"), lost) if lost else ""
    return _pairs(facts) + "\n\n" + _columns(header, rows) + damage


def erasure(report: Json, at_most: int = 20) -> str:
    """What `erase` prints without --json: the targets before and after, how much else is kept, and the attacks."""
    settings = report["settings"]
    ratio = report["perplexity_ratio"]
    facts = [
        ("model", f"{report['model']} ({report['fingerprint']})"),
        ("method", f"{settings['method']}, seed {report['seed']}, {report['steps']} steps, {report['seconds']:.1f} s"),
        ("ended", report["ended"]),
        ("weights changed", str(report["n_weights"])),
        ("others kept, never seen", _kept(report["unseen"]) if report["unseen"]["memorized"] else _judges(0)),
        ("others kept, seen", _kept(report["seen"])),
        ("perplexity", "-" if ratio is None else f"x{ratio:.4f}"),
        ("edit", report["edit"]),
    ]
    states = [
        (_quoted(target["value"]), moment, *_numbers(target[moment]), _quoted(target[moment]["text"]))
        for target in report["targets"][:at_most]
        for moment in ("before", "after")
    ]
    header = ("value", "", "match", "NLL (nats/token)", "accuracy", "exposure", "text")
    owners = whose(report["targets"])
    others = [_pairs(owners)] if owners else []
    return "\n\n".join([_pairs(facts), _columns(header, states), *others, *_attacks(report["attacks"])])


def whose(targets: Sequence[Json]) -> list[tuple[str, str]]:
    """A line for each target that is replaced by another listed person's data."""
    relations = {"equal": "is", "near": "is nearly", "part": "has a word of"}
    return [
        (
            "another person's data",
            f"{_quoted(target['after']['text'])} {relations[owner['match']]} the value of row {owner['row']}, "
            f"{_quoted(owner['value'])}",
        )
        for target in targets
        if (owner := target["after"]["listed_owner"])
    ]


def _attacks(attacks: Sequence[Json]) -> list[str]:
    """The table of attacks, and notes on them; empty where none was planned."""
    shares = ("before", "after", "chance", "limit")
    rows = [
        (
            attack["name"],
            *(_share(attack[name]) for name in shares),
            "-" if attack["limit"] is None else _yes(attack["found_something"]),
            str(attack["n_values"]),
            attack["detail"],
        )
        for attack in attacks
    ]
    header = ("attack", *shares, "above it", "values", "what is counted")
    legend = (
        "chance: the mean over values that nobody trained on, whose number is in the column values; limit: what these exceed, in "
        "any of the attacks, in at most 5 % of cases"
    )
    notes = [f"{attack['name']}: {attack['note']}" for attack in attacks if attack["note"]]
    return ["\n".join([_columns(header, rows), legend, *notes])] if attacks else []


def applied(report: Json) -> str:
    """What `apply` prints without --json."""
    return _pairs([("model", f"{report['model']} ({report['fingerprint']})"), ("written to", report["folder"])])


def method_comparison(report: Json) -> str:
    """What `compare` prints without --json: the effect of the best k of every method, then their overlap."""
    settings = report["settings"]
    facts = [
        ("model", f"{report['model']} ({report['fingerprint']})"),
        ("secret", _quoted(report["target"]["value"])),
        ("judged on", f"{settings['n_unseen']} of {settings['n_unseen_known']} memorized secrets that no method was given"),
        ("and on", f"{settings['n_reference']} paragraphs; exposure is the rank among {settings['n_candidates']} values"),
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
        for row in report["rows"]
    ]
    header = ("method", "k", "match", "NLL (nats/token)", "exposure (bits)", "unseen kept", "perplexity")
    overlap = report["overlap"]
    methods = overlap["methods"]
    cells = [(name, *(f"{index:.3f}" for index in row)) for name, row in zip(methods, overlap["jaccard"], strict=True)]
    title = f"Jaccard index of the best {overlap['k']} neurons; two random sets: {overlap['chance']:.3f}"
    return "\n\n".join([_pairs(facts), _columns(header, rows), f"{title}\n" + _columns(("", *methods), cells)])


def _numbers(state: Json) -> tuple[str, ...]:
    return _yes(state["greedy_match"]), f"{state['nll']:.3f}", f"{state['memorization_accuracy']:.1%}", _exposure(state)


def _exposure(state: Json) -> str:
    """With the maximum of its candidate space and the value by chance."""
    if state["exposure_bits"] is None:
        return "-"
    bits, max_bits, chance = (state[name] for name in ("exposure_bits", "max_exposure_bits", "chance_exposure_bits"))
    return f"{bits:.2f} of {max_bits:.2f} bits (chance {chance:.2f})"


def _interval(interval: tuple[float, float]) -> str:
    return " to ".join(f"{end:.3f}" for end in interval)


def _kept(count: Json) -> str:
    return f"{count['kept']} of {count['memorized']}" if count["memorized"] else "none"


def _judges(n_unseen: int) -> str:
    """How many others the method never saw: only these show what else was lost, since the method retained the rest."""
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
