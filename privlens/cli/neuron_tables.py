"""What `neuron`, `lens` and `salience` print without --json."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group

from privlens.cli.tables import Json, Part, columns, line, pairs, quoted
from privlens.neurons.lens_records import LensReading, LensResult

SHOWN = 5
"""Contexts and neighbours that are printed; all are in the JSON object."""
FIRST = 10
"""A token is visible at a layer where it is among so many first choices."""


def neuron(page: Json) -> Sequence[Part]:
    """The page of a neuron, from its JSON object."""
    card = page["card"]
    source = card["provenance"]
    facts = [
        ("model", f"{source['model']} ({source['fingerprint']})"),
        ("neuron", card["link"]),
        ("profile of", f"{source['settings']['n_tokens']} tokens in {source['settings']['n_texts']} paragraphs"),
    ]
    facts += [(badge["family"], f"{_numbers(badge)}; rule: {badge['rule']}") for badge in card["badges"]]
    facts += [] if card["badges"] else [("families", "none of the rules holds")]
    pages: list[Part] = [pairs(facts), _tokens(card), _statistics(card)]
    if page["contexts"]:
        pages.append(Group(line("Most active in:"), _contexts(page["contexts"][:SHOWN])))
    nearest = [(_name(other["neuron"]), f"{other['cosine']:.3f}") for other in page["neighbors"][:SHOWN]]
    pages.append(columns(("nearest neuron", "cosine"), nearest, ("cosine",)))
    pages += [_activations(page[name], name[3:]) for name in ("on_secret", "on_text") if page[name]]
    if page["dimmer"]:
        pages.append(_dimmer(page["dimmer"]))
    return [*pages, *(_alone(page["alone"]) if page["alone"] else []), *(_places(page["places"]) if page["places"] else [])]


def _numbers(badge: Json) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in badge["numbers"])


def _name(pair: Sequence[int]) -> str:
    return "L{}N{}".format(*pair)


def _number(value: float | None, form: str = ".3g") -> str:
    return "-" if value is None else format(value, form)


def _tokens(card: Json) -> Part:
    rows = [
        (quoted(up["token"]), f"{up['cosine']:+.3f}", f"{up['logit']:+.3f}", quoted(down["token"]), *_weight(down))
        for up, down in zip(card["promoted"], card["suppressed"], strict=True)
    ]
    header = ("promotes", "cosine", "logit", "suppresses", "cosine", "logit")
    return columns(header, rows, ("cosine", "logit"))


def _weight(token: Json) -> tuple[str, str]:
    return f"{token['cosine']:+.3f}", f"{token['logit']:+.3f}"


def _statistics(card: Json) -> Part:
    rows = [(one["name"], _number(one["value"]), _number(one["percentile"], ".1f")) for one in card["statistics"]]
    return columns(("statistic", "value", "percentile"), rows, ("value", "percentile"))


def _contexts(contexts: Sequence[Json]) -> Part:
    rows = []
    for context in contexts:
        place = context["position"] - context["start"]
        tokens = context["tokens"]
        before, token = quoted("".join(tokens[:place])), quoted(tokens[place])
        rows.append((str(context["row"]), str(context["position"]), f"{context['activation']:.3f}", token, before))
    return columns(("paragraph", "token", "activation", "at", "after"), rows, ("paragraph", "token", "activation"))


def _activations(text: Json, name: str) -> Part:
    n_prompt = text["n_prompt"]
    rows = [
        (quoted(token), "" if n_prompt is None else "prompt" if number < n_prompt else "value", f"{activation:.3f}")
        for number, (token, activation) in enumerate(zip(text["tokens"], text["activations"], strict=True))
    ]
    return columns((f"token of the {name}", "", "activation"), rows, ("activation",))


def _dimmer(dimmer: Json) -> Part:
    rows = [
        (
            f"{point['gate']:g}",
            f"{point['secret_nll']:.4f}",
            f"{point['random_nll']:.4f}",
            _interval(point["random_interval"], 4),
            f"{point['entropy']:.4f}",
            _number(point["reference_nll"], ".4f"),
        )
        for point in dimmer["points"]
    ]
    header = ("gate", "secret's NLL", "random neuron", "95 %", "entropy (nats)", "reference NLL")
    return columns(header, rows, header)


def _alone(alone: Json) -> list[Part]:
    rows = [
        (name, _name(off["neuron"]), f"{off['n_lost']} of {alone['n_known']}", _interval(off["interval"]), _change(off))
        for name, off in (("this neuron", alone["chosen"]), *(("random", off) for off in alone["random"]))
    ]
    said = f"Random neurons take a share of {_interval(alone['random_interval'])} (95 %)"
    table = columns(("off alone", "", "known secrets lost", "95 %", "mean change of NLL"), rows)
    fallen = [change for change in alone["changes"] if change["known_before"] and not change["known_after"]]
    lost = [(quoted(change["secret"]["value"]), f"{change['nll_before']:.2f}", f"{change['nll_after']:.2f}") for change in fallen]
    return [Group(table, line(said)), *([columns(("secret lost", "NLL before", "after"), lost)] if lost else [])]


def _places(places: Json) -> list[Part]:
    """By category and method how often the neuron is among the best 1 %, and its place for each secret for which it is."""
    said = (
        f"Among the best {places['n_best']} of {places['n_neurons']} neurons; any is with chance {places['chance']:.1%}. "
        f"Random neuron of the same layer: {_name(places['random'])}."
    )
    rows = [
        (
            of["method"],
            of["category"] or "all",
            f"{of['share']['k']} of {of['share']['n']}",
            _interval(of["share"]["interval"]),
            _number(of["median_place"], ".0f"),
            f"{of['random_share']['k']} of {of['random_share']['n']}",
            f"{of['layer_share']:.3f}",
        )
        for of in places["summaries"]
    ]
    header = ("method", "category", "in the best 1 %", "95 %", "median place", "random neuron", "mean of the layer")
    hits = [
        (str(row), quoted(secret["value"]), *(_number(of_method[number], "d") for of_method in places["places"]))
        for number, (row, secret) in enumerate(zip(places["rows"], places["secrets"], strict=True))
        if any(of_method[number] for of_method in places["places"])
    ]
    named = ("row", "place for", *places["methods"])
    table = Group(line(said), columns(header, rows, header[2:]))
    return [table, *([columns(named, hits, (named[0], *named[2:]))] if hits else [])]


def _change(off: Json) -> str:
    return f"{off['mean_change']:+.4f}"


def _interval(ends: Any, digits: int = 3) -> str:
    return "-" if ends is None else " to ".join(f"{end:.{digits}f}" for end in ends)


def lens(result: LensResult) -> Sequence[Part]:
    """The lens: in which share of the value's tokens each layer would be right, and where each token becomes visible."""
    readings = {"before": result.before, "after": result.after, "random off": result.random, "control": result.control}
    present = {name: reading for name, reading in readings.items() if reading is not None}
    source = result.provenance
    facts = [
        ("model", f"{source.model} ({source.fingerprint})"),
        ("neurons off", str(len(result.off))),
        ("control", "a value of the same format that nobody trained on, behind the same prompt"),
    ]
    if result.after is not None:
        gone = [result.after.underneath(rank) for rank in (1, FIRST)]
        said = f"of the tokens gone in the end, a lower layer has {gone[0]} first, {gone[1]} in its first {FIRST}"
        facts.append(("still underneath", said))
    shares = {name: (reading.visible(1), reading.visible(FIRST)) for name, reading in present.items()}
    rows = [
        ("embeddings" if layer < 0 else str(layer), *(f"{of[layer + 1]:.0%}" for pair in shares.values() for of in pair))
        for layer in range(-1, len(result.before.true_rank) - 1)
    ]
    header = ("after layer", *(f"{name}, {of}" for name in shares for of in ("first", f"first {FIRST}")))
    title = f"Share of the value's tokens that are a layer's first choice, and among its first {FIRST}:"
    return [pairs(facts), Group(line(title), columns(header, rows, header)), _by_token(present)]


def _by_token(readings: dict[str, LensReading]) -> Part:
    """For each token of the value the layer after which it is first visible; readings of the secret only."""
    own = {name: reading for name, reading in readings.items() if name != "control"}
    before = own["before"]
    value = before.tokens[before.n_prompt :]
    firsts = [of for reading in own.values() for of in (reading.first_layers(1), reading.first_layers(FIRST))]
    rows = [(quoted(token), *(_layer(of[number]) for of in firsts)) for number, token in enumerate(value)]
    header = ("token", *(f"{name}, {of}" for name in own for of in ("first", f"first {FIRST}")))
    return Group(line("The lowest layer after which a token is visible:"), columns(header, rows))


def _layer(layer: int | None) -> str:
    return "never" if layer is None else "embeddings" if layer < 0 else str(layer)


def salience(report: Json) -> Sequence[Part]:
    """Nats of each token of the prompt, beside the control."""
    source = report["provenance"]
    gained = report["logprob"] - report["baseline_logprob"]
    facts = [
        ("model", f"{source['model']} ({source['fingerprint']})"),
        ("log-probability", f"{report['logprob']:.3f} nats, {report['baseline_logprob']:.3f} behind the baseline: {gained:+.3f}"),
        ("delta", f"{report['delta']:+.4f} nats" + _control_delta(report)),
        ("baseline", f"{source['settings']['baseline']}, {source['settings']['steps']} steps"),
    ]
    control = report["control_nats"] or [None] * len(report["nats"])
    rows = [
        (quoted(token), f"{nats:+.3f}", _number(of_control, "+.3f"))
        for token, nats, of_control in zip(report["tokens"], report["nats"], control, strict=True)
    ]
    return [pairs(facts), columns(("token of the prompt", "nats", "control"), rows, ("nats", "control"))]


def _control_delta(report: Json) -> str:
    return "" if report["control_delta"] is None else f"; {report['control_delta']:+.4f} for the control"
