"""Curves, histograms, texts and HParams for TensorBoard, in `<run>/tb`.

A run that goes on from step s opens a new event file with `purge_step` s + 1, so TensorBoard forgets the
points behind s and shows one line. HParams are written as plain session summaries: Lightning's
`log_hyperparams` would add a point of NaN to the metric's own curve, `add_hparams` a junk run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from deepseek_lab.disk import naming
from deepseek_lab.trainer_plugins.overlay import overlay

Scalar = bool | int | float | str


class TensorBoardCurves(TensorBoardLogger):
    """Lightning's logger with the folder, the purge and the HParams of this project."""

    def __init__(self, run_folder: Path, resume_step: int | None = None) -> None:
        purge_step = None if resume_step is None else resume_step + 1
        super().__init__(run_folder, name="tb", version="", default_hp_metric=False, purge_step=purge_step)
        self._is_new = resume_step is None
        self._end_of_session: Any = None

    @rank_zero_only
    def describe_run(self, hparams: Mapping[str, Scalar], metrics: Sequence[str], config: str) -> None:
        """Once, before fit: the row of the HParams page, its metrics' names, the layout of the page that overlays
        runs, and the resolved config as text.

        A resumed run has both already; then nothing is written.
        """
        start, session, self._end_of_session = hparams_summaries(dict(hparams), dict.fromkeys(metrics, 0.0))
        if not self._is_new:
            return
        writer = self.experiment._get_file_writer()
        writer.add_summary(start, 0)
        writer.add_summary(session, 0)
        self.experiment.add_custom_scalars(overlay())
        self.experiment.add_text("config", f"```yaml\n{config}\n```", 0)
        self.experiment.flush()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Lightning's; what the disk refuses is named, which Lightning takes for a value of the wrong type."""
        with naming(self.log_dir):
            super().log_metrics(metrics, step)

    @rank_zero_only
    def log_text(self, name: str, text: str, step: int) -> None:
        """A text, shown as it is: indented, because TensorBoard reads Markdown."""
        with naming(self.log_dir):
            self.experiment.add_text(name, "".join(f"    {line}\n" for line in text.splitlines() or [""]), step)

    @rank_zero_only
    def log_histogram(self, name: str, heights: Sequence[float], step: int, first: int = 0) -> None:
        """One bar an index (an expert, an exponent), of the height given; index i stands at i - 1/2 … i + 1/2.

        first: the index of the first bar.
        """
        count, total = len(heights), float(sum(heights))
        with naming(self.log_dir):
            self.experiment.add_histogram_raw(
                name,
                min=first - 0.5,
                max=first + count - 0.5,
                num=total,
                sum=float(sum(i * h for i, h in enumerate(heights, first))),
                sum_squares=float(sum(i * i * h for i, h in enumerate(heights, first))),
                bucket_limits=[first + i + 0.5 for i in range(count)],
                bucket_counts=list(heights),
                global_step=step,
            )

    @rank_zero_only
    def save(self) -> None:
        """Flushes the event file; Lightning's own also writes an hparams.yaml that nobody reads."""
        with naming(self.log_dir):
            self.experiment.flush()

    @rank_zero_only
    def sync(self) -> None:
        """The event file goes to the operating system; a kill loses none of it."""
        self.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Closes the session (a run that ended well is marked so) and the event file."""
        if status == "success" and self._end_of_session is not None:
            self.experiment._get_file_writer().add_summary(self._end_of_session, 0)
        if self._experiment is not None:
            with naming(self.log_dir):
                self.experiment.flush()
                self.experiment.close()
