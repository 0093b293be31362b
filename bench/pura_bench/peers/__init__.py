"""Other encrypted matchers, each in an environment of its own, on the same gallery and threshold as ours."""
