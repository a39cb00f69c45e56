"""TNG: configuration, process, what it verified. The binary is the real one, never a stand-in."""
