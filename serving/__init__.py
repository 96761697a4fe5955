"""The serving component: loads the champion release and answers in milliseconds."""
