"""Is a private value memorized, which neurons carry it, and what happens without them?

Run: python examples/where_is_it.py
"""

import privlens
from privlens.resources import REFERENCE, SECRETS

lm = privlens.load("demo")
secrets = [row.secret for row in privlens.read_secrets(SECRETS)]
target = secrets[105]

# 1. Is it memorized? The model is asked to go on from the prompt.
known = privlens.check(lm, target)
print(f"{target.prompt} -> {known.continuation!r}")
print(f"written by heart: {known.greedy_match}; exposure {known.exposure.bits:.1f} of {known.exposure.max_bits:.1f} bits")

# 2. Which neurons carry it? Half of the other secrets may be looked at; the other half judges what is kept.
others = [secret for secret in secrets if secret != target]
scores = privlens.localize(lm, target, "contrastive-gradient", others=others[::2])
neurons = privlens.best(scores, share=0.01)
print(f"{len(neurons)} of {scores.n_neurons} neurons, the first: layer {neurons[0].layer}, neuron {neurons[0].index}")

# 3. What happens without them, beside as many random neurons?
effect = privlens.deactivate(lm, target, neurons, others=others[1::2], reference=privlens.read_reference(REFERENCE)[:4])
for name, outcome in (("these off", effect.chosen), ("random ones off", effect.random)):
    written = "still written" if outcome.target.after.greedy_match else "not written any more"
    print(f"{name}: {written}; others kept {outcome.kept} of {outcome.memorized}; perplexity x{outcome.perplexity_ratio:.3f}")
