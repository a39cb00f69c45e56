"""Language models behind the OpenAI API, and the ways to bring one up."""
