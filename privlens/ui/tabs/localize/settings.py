"""What every localization on the page is asked with: other secrets to hold on to, where the neurons stand, the seed."""

import gradio as gr

KEEP = [("every second, the rest judge", "half"), ("all of the list", "all"), ("none", "none")]
SITES = [("the MLPs", "mlp"), ("attention (output coordinates)", "attention"), ("both", "both")]


def keep_setting(elem_id: str) -> gr.Dropdown:
    """Which of the other listed secrets a method is given as retained text."""
    return gr.Dropdown(KEEP, value="half", label="Other secrets to hold on to", elem_id=elem_id, scale=3, min_width=260)


def site_setting(elem_id: str) -> gr.Dropdown:
    """Whose neurons."""
    return gr.Dropdown(SITES, value="mlp", label="Neurons of", elem_id=elem_id, scale=2, min_width=200)


def common(keep: str, site: str, seed: float | None) -> tuple[tuple[str, str], ...]:
    """What these are set to, by name and in words."""
    words = [next(label for label, name in labels if name == chosen) for labels, chosen in ((KEEP, keep), (SITES, site))]
    return ("others held on to", words[0]), ("neurons of", words[1]), ("seed", str(int(seed or 0)))


def seed_setting(elem_id: str) -> gr.Number:
    """What decides everything that is drawn."""
    return gr.Number(0, label="Seed", precision=0, minimum=0, elem_id=elem_id, min_width=90)
