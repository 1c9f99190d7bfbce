"""Training stages: LightningModules on one shared loop (`base`), each about its objective alone."""
