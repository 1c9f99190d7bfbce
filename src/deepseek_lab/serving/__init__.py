"""The API server and its page: an OpenAI-compatible way to talk to one model, for one machine."""
