"""Packaged data: platforms, daemons, workloads, scenarios, suites, algorithms, measurements, policies."""
