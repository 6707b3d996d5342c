"""Models of a machine under a promotion daemon: `lumped`, the fast one, and `pages`, page by page, side by side."""
