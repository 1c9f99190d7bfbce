"""The figures of a report, in their order. A new one is a function of the evidence, and a line here."""

from collections.abc import Callable, Iterator

from deepseek_lab.report.difference_figures import difference_figures
from deepseek_lab.report.document import Picture
from deepseek_lab.report.findings import Evidence
from deepseek_lab.report.load_figure import load_figures
from deepseek_lab.report.loss_figures import loss_figures
from deepseek_lab.report.pareto import pareto_figures
from deepseek_lab.report.precision_figure import precision_figures

FIGURES: tuple[Callable[[Evidence], Iterator[Picture]], ...] = (
    loss_figures,
    difference_figures,
    pareto_figures,
    precision_figures,
    load_figures,
)
"""Each yields the pictures that its evidence is enough for, or none."""


def draw(evidence: Evidence) -> tuple[Picture, ...]:
    """All of them."""
    return tuple(picture for make in FIGURES for picture in make(evidence))
