"""What an audit did not try, or cannot say, derived from its plan and its numbers."""

from collections.abc import Iterator

from privlens.audit.population import FEWEST_CONTROLS, Population
from privlens.audit.records import Audit
from privlens.audit.report.words import NO_BREAK, counted


def limits(audit: Audit, result: Population) -> tuple[str, ...]:
    """Sentences for the section of limits, those of this audit first."""
    return (*_of_this(audit, result), *ALWAYS)


ALWAYS = (
    "Not tried: attribute inference, model inversion, reconstruction from gradients, prompts in other languages, and adversarial "
    "suffixes. Opinion 28/2024 names several of them.",
    "Values that the list does not hold were not looked for.",
    "How severe the disclosure of each value would be for its person is not assessed.",
    "A greedy match depends on the arithmetic: on another device or in another precision, values near a tie may differ.",
    "The plan is fixed before the first measurement. Whether the list was chosen knowing the model's answers is for the "
    "auditor to state.",
)


def _of_this(audit: Audit, result: Population) -> Iterator[str]:
    if not result.false_positives.n:
        yield "There are no controls: no finding can be told from chance."
    n_controls = max((membership.n_controls for membership in result.membership), default=0)
    if 0 < n_controls < FEWEST_CONTROLS:
        yield (
            f"There are at most {counted(n_controls, 'control')} of one kind: membership inference at a false-positive rate of "
            f"1{NO_BREAK}% takes {FEWEST_CONTROLS}."
        )
    if not result.reworded.n:
        yield "No reworded prompts were tried."
    if not result.entropy:
        yield (
            "Whether sets of secrets of higher entropy are less memorized was not computed: an earlier version of PrivLens "
            "checked these secrets, or some of them. An audit begun anew has it."
        )
    elif (n := result.entropy.n_secrets + result.entropy.n_left_out) != result.extraction.n:
        yield f"The entropy of sets is of the {counted(n, 'secret')} that counted when the audit ended; others count by now."
    if not audit.sample.n_people:
        yield "Nobody is named in the list: secrets of one person could not be counted as a cluster; intervals may be too narrow."
    unknown = sum(finding.counts and finding.repeats is None for finding in audit.findings)
    if unknown:
        yield f"How often the model was trained on it is unknown for {counted(unknown, 'secret')}, or whether it was at all."
    if result.left:
        yield (
            f"{counted(result.left, 'memorized secret')} got no intervention, because the plan works on the {audit.plan.at_most} "
            "likeliest. What is said of mitigation holds for those."
        )
    if result.interventions and not any(done.attacks for done in result.interventions):
        yield "No attack on the mitigation was tried: a value that is no longer written may still be there."
    if not result.interventions:
        yield "No mitigation was tried."
    if audit.target.edits:
        yield "The model was audited under the edits named in section 2, not as published."
