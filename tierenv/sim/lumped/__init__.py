"""The fast model: application, scanner, migrator and reclaim over lumps of exchangeable pages."""
