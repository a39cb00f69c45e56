"""Attacks on the owner's own collection, so that its leakage is a measured number.

Every attack works on plain arrays: what the attacker sees, what the attacker owns, and, only to
score the result, the truth. None chooses anything by the truth.
"""
