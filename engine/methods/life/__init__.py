"""LIFE, lighting-invariant flow (arXiv 2104.03097): dense correspondence that survives changes of light and viewpoint.

`model.py` the network with the published names; `correlation.py` the lookup, with and without a volume; `published.py` files of
the authors; `losses.py` what a training minimises; `warps.py` random known transformations. Importing this package imports no
torch.
"""
