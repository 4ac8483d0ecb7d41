"""Pictures of an audit."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from privlens.plots.charts import CHOSEN, CONTROL, plain


def extraction(shares: Mapping[str, Sequence[float]], exponents: Sequence[int]) -> go.Figure:
    """The share of values that appear within 10^exponents samples with an even chance: of secrets, then of controls."""
    fig = go.Figure()
    for name, color, dash in zip(shares, (CHOSEN, CONTROL), ("solid", "dash"), strict=False):
        line = {"color": color, "dash": dash}
        fig.add_scatter(x=list(exponents), y=[100 * share for share in shares[name]], name=name, mode="lines+markers", line=line)
    fig.update_xaxes(title="samples", tickvals=list(exponents), ticktext=[f"10<sup>{exponent}</sup>" for exponent in exponents])
    fig.update_yaxes(title="appear with an even chance (%)", range=[0, 105])
    return plain(fig, 300)
