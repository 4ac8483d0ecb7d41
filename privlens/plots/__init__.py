"""Records as plotly figures, as tables and as marked text. Text has no colour here: the page sets it for light and dark."""

from pathlib import Path

import plotly

from privlens.plots.auditing import extraction
from privlens.plots.charts import CHOSEN, NEUTRAL, curves, per_layer, sweep_curves, token_bars
from privlens.plots.comparing import method_curves, overlap_matrix, site_bars, small_heatmap
from privlens.plots.erasing import changed_weights, erase_or_hide, erasure_curves, layer_and_matrix
from privlens.plots.heatmaps import all_layers_layout, heatmap, live_gates, one_layer_layout
from privlens.plots.kin import coupled_map, entropy_line, entropy_of_sets, excess_histogram, kram_bars, probe_curves, venn
from privlens.plots.neurons import activation_histogram, dimmer_lines, lens_heatmap, salience_bars
from privlens.plots.places import places_heatmap
from privlens.plots.tables import marked, others_table, shown, token_table

SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
"""The JavaScript half of plotly, as its Python package ships it."""

__all__ = [
    "CHOSEN",
    "NEUTRAL",
    "SCRIPT",
    "activation_histogram",
    "all_layers_layout",
    "changed_weights",
    "coupled_map",
    "curves",
    "dimmer_lines",
    "entropy_line",
    "entropy_of_sets",
    "erase_or_hide",
    "erasure_curves",
    "excess_histogram",
    "extraction",
    "heatmap",
    "kram_bars",
    "layer_and_matrix",
    "lens_heatmap",
    "live_gates",
    "marked",
    "method_curves",
    "one_layer_layout",
    "others_table",
    "overlap_matrix",
    "per_layer",
    "places_heatmap",
    "probe_curves",
    "salience_bars",
    "shown",
    "site_bars",
    "small_heatmap",
    "sweep_curves",
    "token_bars",
    "token_table",
    "venn",
]
