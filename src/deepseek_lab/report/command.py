"""`scripts/report.py`: the report of runs that are compared, or of a pipeline's road."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deepseek_lab.config import ConfigError
from deepseek_lab.report.question import known_metrics
from deepseek_lab.report.road import FILE
from deepseek_lab.report.road_report import write_road_report
from deepseek_lab.report.writing import Report, write_report


def report(cfg: DictConfig) -> Report | None:
    """None for a road, whose report is a page alone. Raises ConfigError, DataError, OSError."""
    names = list(cfg.runs) if OmegaConf.is_list(cfg.runs) else [cfg.runs]
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"must name a folder, or several: runs=[one,another], not {cfg.runs!r}", "runs")
    for name in ("out", "baseline"):
        if not isinstance(cfg[name], str | None):
            raise ConfigError(f"must be a text or null, not {cfg[name]!r}", name)
    folders = [Path(name).expanduser() for name in names]
    if len(folders) == 1 and (folders[0] / FILE).is_file():
        print(f"report  {write_road_report(folders[0])}")
        return None
    return write_report(
        folders,
        None if cfg.out is None else Path(cfg.out).expanduser(),
        cfg.baseline,
        metrics=None if cfg.metrics is None else known_metrics(cfg.metrics),
    )
