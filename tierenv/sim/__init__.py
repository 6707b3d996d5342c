"""The simulated system: application, scanner, migrator and reclaim over lumped pages."""
