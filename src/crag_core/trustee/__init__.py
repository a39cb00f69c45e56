"""Trustee: clients for KBS and AS, administration, and the Trustee for one machine."""
