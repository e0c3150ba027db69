"""The engine: data, labels, methods, training, runs and the command line, without Qt.

Everything here imports and runs where no window system is installed. Importing it is cheap: torch and the
like are imported by the module that needs them, when it is needed. Start reading at `method.py` (the contract
of every method), `runs.py` (how a method talks to whoever started it) and `workspace.py` (what a user works in).
"""
