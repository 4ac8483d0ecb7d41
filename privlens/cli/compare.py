"""`python -m privlens compare`: several methods on one secret, as the page's tab of that name does it."""

from typing import Annotated

import typer

from privlens.cli import inputs, objects, progress, tables
from privlens.cli.options import SITE, AsJson, Chat, Device, Dtype, Methods, Model, Reference, Secrets, Seed
from privlens.deactivation import EvalContext, all_on
from privlens.localization import Task
from privlens.method_comparison import BudgetName, common_k, compare_methods
from privlens.resources import REFERENCE
from privlens.retained.others import retained_of
from privlens.secret_lists import read_reference
from privlens.types import Site
from privlens.zoo.loading import load


def compare(
    secrets: Secrets,
    row: Annotated[int, typer.Option(help="The target's row in it, from 0; every second memorized other is to be kept.")] = 0,
    methods: Methods = "active-token-gradient,contrastive-gradient,gradient,activations",
    site: Annotated[Site, typer.Option(help=SITE)] = "mlp",
    top: Annotated[int | None, typer.Option(min=1, help="The k of the overlap; else what a method closed, or 1 in 100.")] = None,
    measured: Annotated[BudgetName, typer.Option(help="Effects on a sample of the texts, or on all of them.")] = "sample",
    reference: Reference = REFERENCE,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Which method is right? What the best k of each do when off, beside random, and how far they name the same neurons."""
    asked, chosen, paragraphs = inputs.methods(methods), inputs.row_of(secrets, row), read_reference(reference)
    lm = inputs.under(load(model, device, dtype), None, chat)
    inputs.check_top(top, lm, site)
    known = all_on(lm, EvalContext(chosen.others, seed=seed)).known
    task = Task(lm, chosen.target, retained_of(known, "half"), seed=seed, site=site)
    for step in compare_methods(asked, task, EvalContext(known, paragraphs), measured):
        progress.tell_step(step)
    assert step.result, "a comparison ends with its result"
    scores = [one.scores for one in step.result.methods]
    k = top or common_k(scores)
    tables.show(objects.method_comparison(step.result, k), as_json, tables.method_comparison)
