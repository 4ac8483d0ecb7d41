"""`python -m privlens compare`: several methods on one secret, like the page's tab of that name."""

from typing import Annotated

import typer

from privlens import results_json
from privlens.cli import inputs, progress, tables
from privlens.cli.options import SITE, AsJson, Chat, Device, Dtype, Methods, Model, Reference, Secrets, Seed
from privlens.deactivation import EvalContext, eval_baseline
from privlens.localization import Task
from privlens.method_comparison import BudgetName, common_k, compare_methods
from privlens.resources import REFERENCE
from privlens.retained.others import retained_of
from privlens.secret_lists import read_reference
from privlens.types import Site
from privlens.zoo.loading import load


def compare(
    secrets: Secrets,
    row: Annotated[int, typer.Option(help="The target's row in the file, from 0; every second memorized other is retained.")] = 0,
    methods: Methods = "active-token-gradient,contrastive-gradient,gradient,activations",
    site: Annotated[Site, typer.Option(help=SITE)] = "mlp",
    top: Annotated[int | None, typer.Option(min=1, help="The k of the overlap (default: suggested k, or 1 %).")] = None,
    measured: Annotated[BudgetName, typer.Option(help="Measure effects on a sample of the texts, or on all.")] = "sample",
    reference: Reference = REFERENCE,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Which method is right? The effect of each one's best k neurons and of random ones, and the overlap between methods."""
    method_names = inputs.methods(methods)
    chosen = inputs.row_of(secrets, row)
    paragraphs = read_reference(reference)
    lm = inputs.under(load(model, device, dtype), None, chat)
    inputs.check_top(top, lm, site)
    known = eval_baseline(lm, EvalContext(chosen.others, seed=seed)).known
    task = Task(lm, chosen.target, retained_of(known, "half"), seed=seed, site=site)
    for step in compare_methods(method_names, task, EvalContext(known, paragraphs), measured):
        progress.report_step(step)
    assert step.result, "a comparison ends with its result"
    scores = [measured_method.scores for measured_method in step.result.methods]
    k = top or common_k(scores)
    tables.show(results_json.method_comparison(step.result, k), as_json, tables.method_comparison)
