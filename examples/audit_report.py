"""Writes the documents of an invented audit: what a report looks like, without a model.

Run: python examples/audit_report.py FOLDER
"""

import sys
from pathlib import Path

from privlens.audit.invented import invented_audit
from privlens.audit.report import write_report

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "invented-audit")
folder.mkdir(exist_ok=True)
write_report(invented_audit(), folder)
print(f"Open {folder / 'report.html'} in a browser; it needs nothing else.")
