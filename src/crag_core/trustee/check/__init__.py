"""``trustee check``: what an attacker finds at a Trustee, found first, without harm."""
