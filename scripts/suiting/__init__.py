"""Other people's test suites: where they come from, how they are run on a mount, what is expected of each."""
