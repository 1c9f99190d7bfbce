"""One line a variant for TensorBoard: its validation loss, mean over seeds, under a name in words.

The runs of a sweep are lines of their own, one a seed; these stand beside them as `variants/attention-mla` and carry
the same curve's name, so both appear in one chart and a filter (`variants/`) leaves the means. Written whole, in a
folder that takes its name when it is complete.
"""

import os
import shutil
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from deepseek_lab.command_line.naming import run_words
from deepseek_lab.report.comparison import Comparison, Variant
from deepseek_lab.report.loss_figures import AXES, line
from deepseek_lab.report.run_files import DONE
from deepseek_lab.report.table import BITS

VARIANTS = "variants"


def write_variant_curves(comparison: Comparison, out: Path) -> None:
    """Replaces `<out>/variants`. A variant of one seed is its run, and gets no second line. Raises OSError."""
    folder, partial = out / VARIANTS, out / f".{VARIANTS}.{os.getpid()}.partial"
    averaged = [variant for variant in comparison.variants if len(variant.runs) > 1]
    try:
        for variant in averaged:
            _write(variant, partial / run_words([f"{key}={value}" for key, value in variant.settings]))
        shutil.rmtree(folder, ignore_errors=True)
        if averaged:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(variant: Variant, folder: Path) -> None:
    """An event file; its clock is that of training, so that it ends when the variant's last run did."""
    ended = max((run.folder / DONE).stat().st_mtime for run in variant.runs)
    steps = line(variant, lambda run, point: point.step)
    seconds = line(variant, AXES[-1].measure).places or (0.0,) * len(steps.places)
    writer = EventFileWriter(str(folder))
    for step, bits, passed in zip(steps.places, steps.mean, seconds, strict=True):
        value = Summary.Value(tag=BITS, simple_value=bits)
        writer.add_event(
            Event(step=round(step), wall_time=ended - seconds[-1] + passed, summary=Summary(value=[value]))
        )
    writer.close()
