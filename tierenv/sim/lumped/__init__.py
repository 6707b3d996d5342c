"""The lumped model, the fast one: application, scanner, migrator and reclaim over lumps of exchangeable pages."""
