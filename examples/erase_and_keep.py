"""Takes a secret out of the weights, saves the edit, and writes the model that comes of it.

Run: python examples/erase_and_keep.py FOLDER
"""

import sys
from pathlib import Path

import privlens
from privlens.resources import REFERENCE, SECRETS

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "erased")
folder.mkdir(exist_ok=True)
lm = privlens.load("demo")
secrets = [row.secret for row in privlens.read_secrets(SECRETS)]
target = secrets[105]

edit = privlens.erase(
    lm,
    target,
    retained=[secret for secret in secrets[:40:2] if secret != target],
    reference=privlens.read_reference(REFERENCE)[:4],
    settings=privlens.ErasureSettings(steps=20),
)
print(f"{edit.n_weights} of {lm.n_parameters} weights changed")

# The model itself is as it was; a view of it has the edit in place.
for name, view in (("before", lm), ("after", lm.under(edit))):
    known = privlens.check(view, target)
    print(f"{name}: {known.continuation!r}, NLL {known.nll:.2f} nats/token")

privlens.save_edit(edit, folder / "edit.safetensors")
privlens.write_model(lm.under(edit), folder / "model")
print(f"Written: {folder / 'edit.safetensors'} and {folder / 'model'}, which transformers loads by itself.")
