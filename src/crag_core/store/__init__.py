"""Where the encrypted rows are kept: one interface, PostgreSQL, and a server to try."""
