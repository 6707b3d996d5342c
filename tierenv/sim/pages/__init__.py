"""The pages model, page by page: slow and plain, what the lumped one is checked against."""
