"""Each variant's difference to the baseline with its interval: one figure a deciding metric."""

from collections.abc import Iterator, Sequence

from matplotlib.ticker import MaxNLocator

from deepseek_lab.metrics import describe
from deepseek_lab.report.document import Picture
from deepseek_lab.report.drawing import GREY, new_figure, picture, plain_axes, short_name, style
from deepseek_lab.report.findings import Evidence, Finding
from deepseek_lab.report.sentences import metric_words


def difference_figures(evidence: Evidence) -> Iterator[Picture]:
    """Only metrics in which some variant has an interval."""
    for metric in evidence.question.metrics:
        found = [finding for finding in evidence.findings if finding.metric == metric and finding.interval]
        if found:
            yield _figure(evidence, metric, found)


def _figure(evidence: Evidence, metric: str, found: Sequence[Finding]) -> Picture:
    figure = new_figure(1.7 + 0.42 * len(found))
    panel = figure.subplots()
    panel.axvline(0, color=GREY, linewidth=1.2)
    for row, finding in enumerate(found):
        look = style(evidence.comparison, finding.variant)
        interval = finding.interval
        assert interval is not None
        panel.errorbar(
            *([interval.mean], [row], None, [interval.half_width]),
            **{"fmt": look["marker"], "color": look["color"], "markersize": 7, "capsize": 4, "linewidth": 1.8},
        )
    panel.set_yticks(range(len(found)), [short_name(finding.variant) for finding in found])
    panel.set_ylim(len(found) - 0.5, -0.5)
    baseline, better = evidence.comparison.baseline.label, describe(metric).better
    side = {"lower": "; left is better", "higher": "; right is better"}.get(better, "")
    plain_axes(panel, f"difference to {baseline} in {describe(metric).unit}{side}", "")
    panel.xaxis.set_major_locator(MaxNLocator(5))
    name = metric.replace("/", "_")
    caption = (
        f"Difference to {baseline} in {metric_words(metric)}, paired by seed, with its 95% interval{side}. An interval "
        "that holds zero shows no difference."
    )
    return picture(figure, f"difference_{name}", f"Difference to {baseline} in {describe(metric).unit}", caption)
