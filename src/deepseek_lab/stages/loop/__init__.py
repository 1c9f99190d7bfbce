"""What every stage is built on: the optimiser step, exact resume, curves, batches."""
