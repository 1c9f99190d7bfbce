"""TensorBoard's page of custom scalars: the curves that decide, all runs of a sweep laid over each other.

Every run writes the same layout and TensorBoard merges them, so the page is there while a sweep runs, for one run and
for several sweeps. A chart without points (a dense network has no experts) stays empty.
"""

CHARTS: dict[str, dict[str, str]] = {
    "Loss": {
        "Validation: bits per byte": "val/bits_per_byte",
        "Validation: loss (nats per token)": "val/loss",
        "Training: next-token loss (nats per token)": "train/loss_next_token",
        "Training: loss of each MTP depth (nats per token)": r"train/loss_mtp_\d+",
    },
    "Speed and stability": {
        "Tokens per second": "perf/tokens_per_second",
        "Gradient norm before clipping": "train/grad_norm",
        "Learning rate": "train/lr",
    },
    "Experts": {
        "Busiest expert (load over mean load)": "moe/load_max_over_mean",
        "Entropy of the load (1 is even)": "moe/load_entropy",
    },
}
"""Charts by category: title, and the curves in it as a regular expression."""


def overlay() -> dict[str, dict[str, list[object]]]:
    """The layout as `SummaryWriter.add_custom_scalars` takes it."""
    return {
        category: {title: ["Multiline", [f"^{curves}$"]] for title, curves in charts.items()}
        for category, charts in CHARTS.items()
    }
