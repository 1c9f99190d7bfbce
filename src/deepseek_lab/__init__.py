"""DeepSeek rebuilt from scratch as an experiment project on PyTorch Lightning and Hydra."""
