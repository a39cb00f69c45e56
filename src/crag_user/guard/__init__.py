"""The guard: the user's HTTP proxy, which reaches one attested service and nothing else."""
