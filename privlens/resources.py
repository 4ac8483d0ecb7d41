"""Where the bundled files lie: models, lists and reference texts that come with PrivLens, and its manual.

A wheel carries them inside the package, a checkout beside it.
"""

from pathlib import Path

PACKAGE = Path(__file__).parent
ASSETS = next(folder for folder in (PACKAGE / "assets", PACKAGE.parent / "assets") if folder.is_dir())
SECRETS, REFERENCE = ASSETS / "secrets.csv", ASSETS / "reference.txt"
"""The bundled list of secrets, and the text that perplexity is measured on where no other is given."""
PLANTED_FILES = ASSETS / "planted"
"""The edit that makes `smollm2+planted`, and the list of its secrets with their neurons."""
RECORDED = ASSETS / "recorded" / "demo.json"
"""The example that the page opens with (`privlens.recorded`)."""
DOCS = next(folder for folder in (PACKAGE / "docs", PACKAGE.parent / "docs") if folder.is_dir())
"""The manual, Markdown: in a wheel only the pages that the app serves (`privlens.ui.manual`)."""
