"""PrivLens: where a causal language model keeps a private string, and what happens when those neurons are switched off."""

import os

# OpenMP threads that spin while they wait slow small kernels up to sixtyfold on shared cores; torch reads this once, on import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Nothing that a person enters here leaves the machine, not even how often the page is opened.
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}

__version__ = "0.1.0"
