"""From a question to an answer that the passages support."""
