"""PrivLens: where a causal language model keeps a private string, and what happens when those neurons are switched off."""

import os

# OpenMP threads that spin while they wait slow small kernels up to sixtyfold on shared cores; torch reads this once, on import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
