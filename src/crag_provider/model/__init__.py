"""The model at rest: a gocryptfs volume, and the ways to make, measure and open one."""
