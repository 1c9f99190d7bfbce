"""Sweeps: fair matching of sizes, the question an ablation asks, and its jobs as processes of their own."""
