"""The demonstration: a scratch mount, and scenarios that show on it how copies travel."""
