"""Training stages: LightningModules on one shared loop (`loop`), each about its objective alone."""
