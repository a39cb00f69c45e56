"""Evidence of what runs in an enclave: made, measured, carried, and verified."""
