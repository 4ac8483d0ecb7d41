"""Log-probabilities of values behind prompts that the lifts of several secrets share, each run once.

A chunk's own are run with the chunk, so that its numbers do not depend on what was run before it, or whether anything was. Those
of the list, which all chunks share, have batches of their own for the same reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from privlens.lm.model import LanguageModel, Stop
from privlens.memorization.lift import FEWEST, MOST_PROMPTS, MOST_VALUES, logprobs_behind, peers
from privlens.types import Secret

PromptKey = tuple[str, str, bool | None]
"""A prompt as it is asked: its text, the space typed before its value, and whether the value is attached."""
Logprobs = dict[tuple[PromptKey, str], float | None]
"""Total log-probabilities (nats) by prompt and value; None for a value that does not fit into the context."""


def prompt_key(lm: LanguageModel, prompt: Secret) -> PromptKey:
    """What a secret's prompt has in common with that of its control."""
    settled = lm.settled(prompt)
    return settled.prompt, settled.with_value("").value, settled.attached


@dataclass
class ListedPairs:
    """The first values of each category behind its first prompts, which nearly all lifts of the category share."""

    lm: LanguageModel
    listed: Sequence[Secret]
    logprobs: dict[str, Logprobs] = field(default_factory=dict)

    def of(self, category: str, stop: Stop) -> Mapping[tuple[PromptKey, str], float | None]:
        """Those of a category; none for secrets without one, whose peers differ."""
        if category not in self.logprobs:
            known: Logprobs = {}
            first = peers(Secret("", "", category), self.listed, MOST_VALUES + 1) if category else []
            for prompt in first[: MOST_PROMPTS + 1] if len(first) > FEWEST else []:
                asked = prompt_key(self.lm, prompt)
                logprobs = logprobs_behind(self.lm, prompt, first, stop=stop)
                known |= {(asked, value.value.strip()): logprob for value, logprob in zip(first, logprobs, strict=True)}
            self.logprobs[category] = known
        return self.logprobs[category]


@dataclass
class KnownPairs:
    """Those of one chunk, beside the list's if there are any."""

    lm: LanguageModel
    stop: Stop
    shared: ListedPairs | None = None
    logprobs: Logprobs = field(default_factory=dict)

    def column(self, prompt: Secret, values: Sequence[Secret]) -> list[float | None]:
        """What `lift_of` asks for: each value behind one prompt."""
        asked = prompt_key(self.lm, prompt)
        keys = [(asked, value.value.strip()) for value in values]
        shared = self.shared.of(prompt.category, self.stop) if self.shared else {}
        missing = {key: value for key, value in zip(keys, values, strict=True) if key not in shared and key not in self.logprobs}
        if missing:
            self.logprobs |= zip(missing, logprobs_behind(self.lm, prompt, list(missing.values()), stop=self.stop), strict=True)
        return [shared[key] if key in shared else self.logprobs[key] for key in keys]

    def prepare(self, secrets: Sequence[Secret]) -> None:
        """Runs what secrets will ask for: a batch for each prompt, not one for each secret."""
        listed = self.shared.listed if self.shared else ()
        behind: dict[PromptKey, tuple[Secret, dict[Secret, None]]] = {}
        for secret in secrets:
            others = peers(secret, listed, MOST_VALUES)
            if len(others) >= FEWEST:
                for prompt in [secret, *others[:MOST_PROMPTS]]:
                    _, values = behind.setdefault(prompt_key(self.lm, prompt), (prompt, {}))
                    values.update(dict.fromkeys((secret, *others)))
        for prompt, values in behind.values():
            self.column(prompt, list(values))
