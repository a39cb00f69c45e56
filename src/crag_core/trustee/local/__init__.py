"""The Trustee for one machine: KBS and AS on loopback, on the wire that the real one speaks.

Data goes one way: ``serve`` -> ``app`` (routes) -> ``kbs`` and ``attestation_service`` (protocol)
-> ``verifiers`` (evidence to claims) -> ``appraisal`` (claims to verdict) -> ``tokens`` (verdict
to EAR token). What is kept on disk is in ``folder``, ``identity``, ``resources``, ``policies``,
``reference_values`` and ``audit``.
"""
