"""The model page by page: slow and plain, what the fast one is checked against."""
