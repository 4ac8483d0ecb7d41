"""Your own model object, your own prompts, several methods, one JSON line for each row as it is done.

Run: python examples/own_model.py FOLDER > rows.jsonl
FOLDER is a model that transformers can load; the bundled one if none is given.
"""

import json
import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

import privlens
from privlens.resources import ASSETS

folder = sys.argv[1] if len(sys.argv) > 1 else ASSETS / "demo"
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
lm = privlens.load(model, tokenizer)

secrets = [
    privlens.Secret("Please charge the trip of Nicholas Carter to card", "1607 5994 4976 2074", "card"),
    privlens.Secret("Write to Olga Whitfield at", "olga.whitfield@example.org", "email"),
]
for row, secret in enumerate(secrets):
    known = privlens.check(lm, secret)
    for method in ("gradient", "contrastive-gradient", "activations"):
        scores = privlens.localize(lm, secret, method)
        neurons = privlens.best(scores, 20, per_layer=True, skip_layers=1)
        with lm.gated(lm.off(neurons)):  # any code of your own runs without these neurons here
            [ids] = lm.generate([lm.encode(secret).prompt_ids], 12)
        print(
            json.dumps(
                {
                    "row": row,
                    "memorized": known.greedy_match,
                    "method": method,
                    "neurons": neurons,
                    "without_them": lm.tokenizer.decode(ids),
                }
            ),
            flush=True,
        )
