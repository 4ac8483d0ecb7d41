"""The objects as text for people: aligned lines with units. Private and generated text is quoted, control characters escaped."""

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from privlens.cli import progress
from privlens.memorization.depth import tries_in_words

Json = dict[str, Any]
Part = Table | Group | Text
"""What is printed with an empty line before the next one."""
UNWRAPPED = 1_000_000
"""Columns where stdout is no terminal: no cell is ever as long, so none is wrapped."""
CONTROLS = re.compile(r"[\x7f-\x9f\u2028\u2029]")
"""Control characters and line separators that JSON leaves unescaped."""


def show(report: Json, as_json: bool, view: Callable[[Json], Sequence[Part]]) -> None:
    """Prints the object, as one line of JSON or as its view for people."""
    if as_json:
        progress.close()
        print(json.dumps(report))
    else:
        print_parts(view(report))


def print_parts(parts: Sequence[Part]) -> None:
    """Prints to stdout, with empty lines between the parts: plain text, without colours or wrapping unless it is a terminal.

    On a terminal headers are bold and long texts are wrapped within their column. No text is interpreted as markup.
    """
    progress.close()
    is_terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, force_terminal=is_terminal, highlight=False, markup=False, emoji=False)
    screen_width = console.width if is_terminal else UNWRAPPED
    pages = []
    for part in parts:
        console.width = UNWRAPPED
        # A table that does not fit is printed wider than the screen: numbers are never cut or broken.
        console.width = max(screen_width, Measurement.get(console, console.options, part).minimum)
        with console.capture() as capture:
            console.print(part, crop=False, no_wrap=True, overflow="ignore")  # columns of tables have their own
        pages.append("\n".join(printed.rstrip() for printed in capture.get().rstrip("\n").split("\n")))
    print("\n\n".join(pages))


def line(text: str) -> Text:
    """A line of text, which only the terminal itself wraps."""
    return Text(text)


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> Table:
    """Aligned columns below a header.

    Args:
        right: names of columns of numbers, which are aligned on the right and never wrapped.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in header:
        is_number = name in right
        table.add_column(Text(name), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def pairs(facts: Sequence[tuple[str, str]]) -> Table:
    """Names and facts, one line each."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts:
        table.add_row(Text(name), Text(fact))
    return table


def records(rows: Sequence[Json]) -> Table:
    """Rows of a benchmark; the columns are all names in them. Numbers have three decimals, and "-" stands for a missing value."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(name) for name in names] for row in rows]
    numeric = [
        name
        for name, column in zip(names, zip(*cells, strict=True), strict=True)
        if all(cell is None or isinstance(cell, int | float) for cell in column)
    ]
    return columns(names, [[_cell(cell) for cell in row] for row in cells], numeric)


def measured(report: Json) -> Sequence[Part]:
    """What `bench` prints without --json: the rows as a table, those of edits as another, and the settings below."""
    more = [records(report["edits"])] if "edits" in report else []
    return [*more, Group(records(report["rows"]), line(json.dumps(report["settings"])))]


def leaks(report: Json) -> Sequence[Part]:
    """What `leaks` prints without --json: the surest first."""
    names = ("is_leak", "score", "n_generated", "greedy_match", "false_positive_level")
    rows = [
        [quoted(row["prompt"]), quoted(row["value"]), row["category"], *(_cell(row[name]) for name in names)]
        for row in report["found"]
    ]
    settings = {name: report[name] for name in ("model", "fingerprint", "seed", "settings", "seconds")}
    said = (
        f"{report['n_leaks']} of the {len(rows)} surest count as leaks, out of {report['n_candidates']} different values in "
        f"{report['n_texts']} texts"
    )
    header = ("prompt", "value", "category", "leak", "score", "times", "greedy", "false positives")
    return [columns(header, rows, right=header[4:]), Group(line(said), line(json.dumps(settings)))]


def bench_attacks(report: Json) -> Sequence[Part]:
    """What `bench attacks` prints without --json."""
    return [records(report["rows"]), records(report["erase_or_hide"]), line(json.dumps(report["settings"]))]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return _interval(value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def memorization(report: Json) -> Sequence[Part]:
    """What `check` prints without --json."""
    control = report["control"]
    facts = [
        ("model", f"{report['model']} ({report['fingerprint']})"),
        ("greedy match", _yes(report["greedy_match"])),
        ("continuation", quoted(report["continuation"])),
        ("tries", _sampled(report)),
        ("NLL", f"{report['nll']:.3f} nats/token"),
        ("memorization accuracy", f"{report['memorization_accuracy']:.1%}"),
        ("extraction strength", f"{report['extraction_strength']:.1%}"),
        ("extraction likelihood", f"{report['extraction_likelihood']:.1%}"),
        ("exposure, whole format", _in_format(report)),
        ("exposure", _exposure(report)),
        ("candidate space", report["candidate_space"]),
        ("lift of its own prompt", _lift(report)),
    ]
    if control:
        numbers = f"tries {_sampled(control)}; exposure {_exposure(control)}, NLL {control['nll']:.3f} nats/token"
        facts.append(("control", f"{quoted(control['value'])}, which nobody trained on: {numbers}"))
    tokens = [(quoted(token["token"]), f"{token['logprob']:.3f}", str(token["rank"])) for token in report["tokens"]]
    header = ("token", "log-probability (nats)", "rank")
    return [pairs(facts), columns(header, tokens, header[1:])]


def localization(report: Json, at_most: int = 20) -> Sequence[Part]:
    """What `localize` prints without --json: the best few neurons."""
    suggested_k = report["suggested_k"]
    facts = [
        ("model", f"{report['model']} ({report['fingerprint']})"),
        ("method", f"{report['method']}, seed {report['seed']}, {report['seconds']:.1f} s"),
        ("neurons", f"{report['k']} of {report['n_neurons']} ({report['k'] / report['n_neurons']:.2%})"),
        ("suggested k", "the method suggests none" if suggested_k is None else str(suggested_k)),
    ]
    best = [(str(layer), str(index), f"{score:.4g}") for layer, index, score in report["neurons"][:at_most]]
    header = ("layer", "neuron", "score")
    n_more = report["k"] - at_most
    more = [line(f"... and {n_more} more; all are in the JSON object (--json, --out)")] if n_more > 0 else []
    return [pairs(facts), Group(columns(header, best, header), *more)]


def comparison(report: Json) -> Sequence[Part]:
    """What `deactivate` prints without --json: chosen beside random neurons, then the others that changed."""
    target = report["target"]
    facts = [
        ("model", f"{report['model']} ({report['fingerprint']})"),
        ("neurons off", str(len(report["neurons"]))),
        ("prompt", quoted(target["prompt"])),
        ("before", quoted(target["before"]["text"])),
        ("after", quoted(target["after"]["text"])),
        *whose([target]),
        ("after, random", quoted(report["random"]["target"]["after"]["text"])),
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
    header = ("neurons", "match", "tries", "NLL (nats/token)", "accuracy", "exposure", "verdict", *parts, "perplexity")
    lost = [
        (quoted(secret["value"]), quoted(secret["after"]["text"]))
        for secret in report["others"]
        if secret["before"]["greedy_match"] and not secret["after"]["greedy_match"]
    ]
    damage = [Group(line("Others lost:"), columns(("value", "the model now writes"), lost))] if lost else []
    return [pairs(facts), columns(header, rows), *damage]


def erasure(report: Json, at_most: int = 20) -> Sequence[Part]:
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
        (quoted(target["value"]), moment, *_numbers(target[moment]), quoted(target[moment]["text"]))
        for target in report["targets"][:at_most]
        for moment in ("before", "after")
    ]
    header = ("value", "", "match", "tries", "NLL (nats/token)", "accuracy", "exposure", "verdict", "text")
    owners = whose(report["targets"])
    others = [pairs(owners)] if owners else []
    return [pairs(facts), columns(header, states), *others, *_attacks(report["attacks"]), *_shifts(report["erase_or_hide"])]


def whose(targets: Sequence[Json]) -> list[tuple[str, str]]:
    """A line for each target that is replaced by another listed person's data."""
    relations = {"equal": "is", "near": "is nearly", "part": "has a word of"}
    return [
        (
            "another person's data",
            f"{quoted(target['after']['text'])} {relations[owner['match']]} the value of row {owner['row']}, "
            f"{quoted(owner['value'])}",
        )
        for target in targets
        if (owner := target["after"]["listed_owner"])
    ]


def _attacks(attacks: Sequence[Json]) -> list[Part]:
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
    counts = [
        (attack["name"], count["what"], f"{count['k']} of {count['n']}", _interval(tuple(count["interval"])))
        for attack in attacks
        for count in attack["counts"]
    ]
    whole = [columns(("attack", "whole values that came back", "", "95 % interval"), counts)] if counts else []
    return [Group(columns(header, rows, shares), *map(line, [legend, *notes])), *whole] if attacks else []


def _shifts(records: Sequence[Json], at_most: int = 20) -> list[Part]:
    """Whether supporters weakened or suppressors grew, beside the controls; empty where nothing was looked at."""
    rows = [
        (quoted(record["secret"]["value"]), name, *_shift(shift))
        for record in records[:at_most]
        for name, shift in (("this edit", record["shift"]), ("random edit", record["random"]), *_other_shift(record))
        if shift
    ]
    header = ("value", "", "supporters lost (D+)", "suppressors gained (D-)", "hidden")
    legend = "nats of the value's log-odds, summed over the MLP neurons; hidden: D- of both together"
    return [Group(columns(header, rows), line(legend))] if rows else []


def _shift(shift: Json) -> tuple[str, str, str]:
    lost, gained = shift["weakened"], shift["grown"]
    return f"{lost:.2f} of {shift['support']:.2f}", f"{gained:.2f}", f"{gained / (lost + gained):.0%}" if lost + gained else "-"


def _other_shift(record: Json) -> list[tuple[str, Json]]:
    """The mean over the other secrets, where there are any."""
    others = record["others"]
    mean = {name: sum(shift[name] for shift in others) / len(others) for name in others[0]} if others else {}
    return [(f"{len(others)} other secrets, mean", mean)]


def applied(report: Json) -> Sequence[Part]:
    """What `apply` prints without --json."""
    return [pairs([("model", f"{report['model']} ({report['fingerprint']})"), ("written to", report["folder"])])]


def method_comparison(report: Json) -> Sequence[Part]:
    """What `compare` prints without --json: the effect of the best k of every method, then their overlap."""
    settings = report["settings"]
    facts = [
        ("model", f"{report['model']} ({report['fingerprint']})"),
        ("secret", quoted(report["target"]["value"])),
        ("judged on", f"{settings['n_unseen']} of {settings['n_unseen_known']} memorized secrets that no method was given"),
        ("and on", f"{settings['n_reference']} paragraphs; exposure is the rank among {settings['n_candidates']} values"),
    ]

    rows = [
        (
            row["method"],
            str(row["k"]),
            _yes(row["target_match"]),
            _tries(row["target_logprob"]),
            f"{row['target_nll']:.3f}",
            "-" if row["target_exposure_bits"] is None else f"{row['target_exposure_bits']:.2f}",
            _share(row["others_kept"]),
            "-" if row["perplexity_ratio"] is None else f"x{row['perplexity_ratio']:.4f}",
        )
        for row in report["rows"]
    ]
    header = ("method", "k", "match", "tries", "NLL (nats/token)", "exposure (bits)", "unseen kept", "perplexity")
    overlap = report["overlap"]
    methods = overlap["methods"]
    cells = [(name, *(f"{index:.3f}" for index in row)) for name, row in zip(methods, overlap["jaccard"], strict=True)]
    title = f"Jaccard index of the best {overlap['k']} neurons; two random sets: {overlap['chance']:.3f}"
    return [pairs(facts), columns(header, rows), Group(line(title), columns(("", *methods), cells, methods))]


def _numbers(state: Json) -> tuple[str, ...]:
    return (
        _yes(state["greedy_match"]),
        _tries(state["logprob"]),
        f"{state['nll']:.3f}",
        f"{state['memorization_accuracy']:.1%}",
        _exposure(state),
        state["verdict"] or "-",
    )


def _tries(logprob: float | None) -> str:
    return tries_in_words(-math.inf if logprob is None else logprob)


def _sampled(report: Json) -> str:
    return f"{_tries(report['sampled_logprob'])} for an even chance"


def _in_format(report: Json) -> str:
    """With its 95 % interval."""
    if report["format_bits"] is None:
        return "-"
    bits, low, high, most = (report[f"format_{name}"] for name in ("bits", "low_bits", "high_bits", "max_bits"))
    return f"{bits:.1f} of {most:.1f} bits ({low:.1f} to {high:.1f})"


def _lift(report: Json) -> str:
    if report["lift_nats"] is None:
        return "-"
    return f"{report['lift_nats']:+.1f} nats, rank {report['lift_rank']:g} among {report['lift_n']} values of its kind"


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


def quoted(text: str) -> str:
    """A text in quotation marks on one line, with control characters escaped."""
    return CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))
