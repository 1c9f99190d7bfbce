"""Losses and rules as pure functions of tensors: no module, no trainer, importable one by one."""
