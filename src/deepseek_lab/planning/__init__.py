"""What a config costs before it runs: parameters, FLOPs, memory, and what the hardware could do."""
