"""One folder per published method; importing this package imports none of them."""
