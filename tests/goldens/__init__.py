"""Reference outputs of the published implementations, and the tests that hold ours against them."""
